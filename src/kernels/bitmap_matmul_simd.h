/* SPDX-License-Identifier: Apache-2.0 */
/* Body of the SIMD forms of bitmap_matmul.h, included after vec_<form>.h and expand(type, bits, values, out): the 64
 * weights of a word of the bitmap as 64 / LANES vectors of float32, `values` being where its values begin. Of a load
 * nothing counts but what its bits ask for; the matrix' last 64 bytes make that it never leaves it. */
#include <string.h>

#include "base/checked_math.h"

enum { WORD_VECS = PHY_BITMAP_WORD / LANES, MOST_ROWS_OF_X = 4 };
/* Additions of one chain; what is lost where the sums of chains meet is kept (vec_math.h). */
enum { CHAIN = 16, CHAIN_WORDS = CHAIN * SUMS / WORD_VECS };

/* A word of the bitmap times `count` rows of x; the sums go on in part (count, SUMS). */
INLINE const uint8_t *add_word(enum phy_weight_type type, const uint8_t *bits, const uint8_t *values, const float *x,
                               size_t count, size_t x_stride, vec part[])
{
    const uint64_t word = phy_load_u64(bits);
    vec w[WORD_VECS];
    expand(type, word, values, w);
    UNROLL
    for (size_t v = 0; v < WORD_VECS; v++) {
        UNROLL
        for (size_t n = 0; n < count; n++)
            part[n * SUMS + v % SUMS] =
                vec_fma(w[v], vec_load(x + n * x_stride + v * LANES), part[n * SUMS + v % SUMS]);
    }
    return values + (size_t)__builtin_popcountll(word) * phy_weight_float_bytes(type);
}

/* One row times `count` rows of x. x_last: their columns of the last word if it is not whole, zeros behind. */
INLINE void dot_row(const struct phy_bitmap *w, enum phy_weight_type type, size_t row, const float *x, size_t count,
                    const float *x_last, float out[])
{
    const uint8_t *bits = phy_bitmap_bits(w, row), *values = phy_bitmap_values(w, row);
    const size_t whole = w->cols / PHY_BITMAP_WORD;
    vec sum[MOST_ROWS_OF_X], lost[MOST_ROWS_OF_X];
    UNROLL
    for (size_t n = 0; n < count; n++)
        sum[n] = lost[n] = vec_zero();
    for (size_t word = 0; word < w->words;) {
        const size_t end = whole - word > CHAIN_WORDS ? word + CHAIN_WORDS : whole;
        vec part[MOST_ROWS_OF_X * SUMS];
        UNROLL
        for (size_t i = 0; i < count * SUMS; i++)
            part[i] = vec_zero();
        for (; word < end; word++)
            values = add_word(type, bits + 8 * word, values, x + word * PHY_BITMAP_WORD, count, w->cols, part);
        if (word == whole && word < w->words)
            add_word(type, bits + 8 * word++, values, x_last, count, PHY_BITMAP_WORD, part);
        UNROLL
        for (size_t n = 0; n < count; n++) {
            vec chains = part[n * SUMS];
            UNROLL
            for (size_t i = 1; i < SUMS; i++)
                chains = vec_add(chains, part[n * SUMS + i]);
            vec_add_kahan(&sum[n], &lost[n], chains);
        }
    }
    UNROLL
    for (size_t n = 0; n < count; n++)
        out[n] = vec_sum(vec_sub(sum[n], lost[n]));
}

INLINE void matvec_typed(const struct phy_bitmap_product *p, enum phy_weight_type type, size_t count, const float *x,
                         size_t row_begin, size_t row_end, float *y)
{
    const struct phy_bitmap *w = &p->w;
    const size_t left = w->cols % PHY_BITMAP_WORD;
    float last[MOST_ROWS_OF_X * PHY_BITMAP_WORD] = {0};
    for (size_t n = 0; n < count && left; n++)
        memcpy(last + n * PHY_BITMAP_WORD, x + (n + 1) * w->cols - left, left * sizeof *last);
    for (size_t r = row_begin; r < row_end; r++) {
        float out[MOST_ROWS_OF_X];
        dot_row(w, type, r, x, count, last, out);
        UNROLL
        for (size_t n = 0; n < count; n++)
            y[n * p->y_stride + r - row_begin] = out[n];
    }
}

INLINE void matvec_of(const struct phy_bitmap_product *p, enum phy_weight_type type, size_t row_begin, size_t row_end)
{
    size_t n = 0;
    for (; n + MOST_ROWS_OF_X <= p->count; n += MOST_ROWS_OF_X)
        matvec_typed(p, type, MOST_ROWS_OF_X, p->x + n * p->w.cols, row_begin, row_end, p->y + n * p->y_stride);
    for (; n < p->count; n++)
        matvec_typed(p, type, 1, p->x + n * p->w.cols, row_begin, row_end, p->y + n * p->y_stride);
}

void FORM(phy_bitmap_matvec)(const struct phy_bitmap_product *product, size_t row_begin, size_t row_end)
{
    switch (product->w.value) {
    case PHY_WEIGHT_BF16:
        matvec_of(product, PHY_WEIGHT_BF16, row_begin, row_end);
        break;
    case PHY_WEIGHT_F16:
        matvec_of(product, PHY_WEIGHT_F16, row_begin, row_end);
        break;
    default:
        matvec_of(product, PHY_WEIGHT_F32, row_begin, row_end);
        break;
    }
}

INLINE void decode_row(const struct phy_bitmap *w, enum phy_weight_type type, size_t row, float *out)
{
    const uint8_t *bits = phy_bitmap_bits(w, row), *values = phy_bitmap_values(w, row);
    for (size_t c = 0; c < w->cols; c += PHY_BITMAP_WORD, bits += 8) {
        const uint64_t word = phy_load_u64(bits);
        float part[PHY_BITMAP_WORD], *to = w->cols - c < PHY_BITMAP_WORD ? part : out + c;
        vec v[WORD_VECS];
        expand(type, word, values, v);
        UNROLL
        for (size_t i = 0; i < WORD_VECS; i++)
            vec_store(to + i * LANES, v[i]);
        if (to == part)
            memcpy(out + c, part, (w->cols - c) * sizeof *part);
        values += (size_t)__builtin_popcountll(word) * phy_weight_float_bytes(type);
    }
}

void FORM(phy_bitmap_decode)(const struct phy_bitmap *w, size_t row_begin, size_t row_end, float *out)
{
    for (size_t r = row_begin; r < row_end; r++, out += w->cols) {
        switch (w->value) {
        case PHY_WEIGHT_BF16:
            decode_row(w, PHY_WEIGHT_BF16, r, out);
            break;
        case PHY_WEIGHT_F16:
            decode_row(w, PHY_WEIGHT_F16, r, out);
            break;
        default:
            decode_row(w, PHY_WEIGHT_F32, r, out);
            break;
        }
    }
}
