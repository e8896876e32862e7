/* SPDX-License-Identifier: Apache-2.0 */
/* Body of the SIMD forms of walk.h, included after block_unpack_<form>.h. */
#include "kernels/block_dots_simd.h"

enum { LINE = 64 };

/* A part of a row that comes later, into the second-level cache. */
INLINE void ask_for(const uint8_t *from, size_t bytes)
{
    for (size_t b = 0; b < bytes; b += LINE)
        __builtin_prefetch(from + b, 0, 2);
}

INLINE void dots_typed(const struct phy_walk_matrix *matrix, enum phy_weight_type type, const uint32_t *features,
                       size_t count, const float *x, float *out)
{
    const size_t stride = row_stride(type, matrix->cols);
    const uint8_t *first = matrix->w, *w[4], *next[4];
    size_t i = 0;
    for (; i + 4 <= count; i += 4) {
        const bool near = i + 8 <= count && features[i + 7] - features[i] == 7;
        UNROLL
        for (size_t f = 0; f < 4; f++) {
            w[f] = first + features[i + f] * stride;
            next[f] = i + 4 + f < count ? first + features[i + 4 + f] * stride : w[f];
        }
        if (near)
            dot_rows(type, w, 4, matrix->cols, 4 * stride, NULL, x, 1, out + i);
        else
            dot_rows(type, w, 4, matrix->cols, 0, next, x, 1, out + i);
    }
    for (; i < count; i++) {
        w[0] = first + features[i] * stride;
        dot_rows(type, w, 1, matrix->cols, 0, NULL, x, 1, out + i);
    }
}

void FORM(phy_walk_dots)(const struct phy_walk_matrix *matrix, const uint32_t *features, size_t count, const float *x,
                         float *out)
{
#define DOTS(type) dots_typed(matrix, type, features, count, x, out)
    FOR_TYPE(matrix->type, DOTS)
#undef DOTS
}

/* Columns that are added up at a time, in a part of the first-level cache. */
enum { STRIP_COLS = 2048 };
/* Features of one chain of additions: rows that are read side by side; fewer where a block is long and has many
 * scales. The chains are added up by Kahan's method, as in matmul_tile.h. */
enum { MOST_ADDED = 8, ADDED_OF_LONG_BLOCKS = 4 };

/* What the chains of each column so far add up to is sum - lost. */
struct strip {
    float sum[STRIP_COLS + LANES], lost[STRIP_COLS + LANES]; /* a whole vector may begin at the last column */
};

INLINE void add_to_strip(struct strip *strip, size_t col, vec chain)
{
    vec sum = vec_load(strip->sum + col), lost = vec_load(strip->lost + col);
    vec_add_kahan(&sum, &lost, chain);
    vec_store(strip->sum + col, sum);
    vec_store(strip->lost + col, lost);
}

/* strip += a[f] * row f, for `rows` rows in order; w begin blocks. `next`: as many rows that come after these, asked
 * for block by block; or NULL. */
INLINE void add_rows(enum phy_weight_type type, const uint8_t *const rows_of_w[], const uint8_t *const next[],
                     size_t rows, const float *a, size_t cols, struct strip *strip)
{
    const size_t elements = block_elements(type), bytes = block_bytes(type);
    size_t at = 0;
    for (size_t c = 0; c + elements <= cols; c += elements, at += bytes) {
        struct scales s[MOST_ADDED];
        UNROLL
        for (size_t f = 0; f < rows && next; f++)
            ask_for(next[f] + at, bytes);
        UNROLL
        for (size_t f = 0; f < rows; f++)
            load_scales(type, rows_of_w[f] + at, &s[f]);
        UNROLL
        for (size_t g = 0; g < elements / GROUP; g++) {
            vec chain[GROUP_VECS];
            UNROLL
            for (size_t v = 0; v < GROUP_VECS; v++)
                chain[v] = vec_zero();
            UNROLL
            for (size_t f = 0; f < rows; f++) {
                vec w[GROUP_VECS];
                unpack(type, rows_of_w[f] + at, &s[f], g, w);
                UNROLL
                for (size_t v = 0; v < GROUP_VECS; v++)
                    chain[v] = vec_fma(w[v], vec_set1(a[f]), chain[v]);
            }
            UNROLL
            for (size_t v = 0; v < GROUP_VECS; v++)
                add_to_strip(strip, c + g * GROUP + v * LANES, chain[v]);
        }
    }
    const size_t left = cols % elements;
    for (size_t f = 0; left && f < rows; f++) {
        float values[MAX_BLOCK_ELEMENTS];
        unpack_part(type, rows_of_w[f] + at, left, values);
        for (size_t k = 0; k < left; k += LANES)
            add_to_strip(strip, cols - left + k, vec_mul(vec_load(values + k), vec_set1(a[f])));
    }
}

/* One strip of columns, all features. */
INLINE void add_strip(const struct phy_walk_matrix *matrix, enum phy_weight_type type, const uint32_t *features,
                      const float *a, size_t count, size_t col, size_t cols, float *y)
{
    const size_t stride = row_stride(type, matrix->cols);
    const size_t added = block_elements(type) == GROUP ? MOST_ADDED : ADDED_OF_LONG_BLOCKS;
    const uint8_t *first = (const uint8_t *)matrix->w + col / block_elements(type) * block_bytes(type);
    const uint8_t *w[MOST_ADDED], *next[MOST_ADDED];
    struct strip strip;
    memset(strip.sum, 0, (cols + LANES) * sizeof *strip.sum);
    memset(strip.lost, 0, (cols + LANES) * sizeof *strip.lost);
    size_t i = 0;
    for (; i + added <= count; i += added) {
        UNROLL
        for (size_t f = 0; f < added; f++) {
            w[f] = first + features[i + f] * stride;
            next[f] = i + added + f < count ? first + features[i + added + f] * stride : w[f];
        }
        add_rows(type, w, next, added, a + i, cols, &strip);
    }
    for (; i < count; i++) {
        w[0] = first + features[i] * stride;
        add_rows(type, w, NULL, 1, a + i, cols, &strip);
    }
    for (size_t c = 0; c < cols; c++)
        y[c] = strip.sum[c] - strip.lost[c];
}

void FORM(phy_walk_add)(const struct phy_walk_matrix *matrix, const uint32_t *features, const float *a, size_t count,
                        size_t col_begin, size_t col_end, float *y)
{
    for (size_t c = col_begin; c < col_end; c += STRIP_COLS) {
        const size_t cols = col_end - c < STRIP_COLS ? col_end - c : STRIP_COLS;
#define ADD(type) add_strip(matrix, type, features, a, count, c, cols, y + c)
        FOR_TYPE(matrix->type, ADD)
#undef ADD
    }
}
