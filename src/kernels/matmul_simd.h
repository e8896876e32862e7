/* SPDX-License-Identifier: Apache-2.0 */
/* Body of the SIMD forms, included after vec_<form>.h and what matmul_tile.h needs. */
#include <string.h>

#include "kernels/matmul_tile.h"

INLINE vec load_codes(const void *w, enum phy_weight_type type, size_t index)
{
    switch (type) {
    case PHY_WEIGHT_BF16:
        return vec_widen_bf16((const uint16_t *)w + index);
    case PHY_WEIGHT_F16:
        return vec_widen_f16((const uint16_t *)w + index);
    default:
        return vec_load((const float *)w + index);
    }
}

/* The last `bytes` of a row, zero-padded to a vector: nothing beyond the matrix is read. */
INLINE vec load_codes_tail(const void *w, enum phy_weight_type type, size_t index, size_t left)
{
    float buffer[LANES] = {0};
    const size_t width = phy_weight_float_bytes(type);
    memcpy(buffer, (const char *)w + index * width, left * width);
    return load_codes(buffer, type, 0);
}

INLINE vec load_floats_tail(const float *x, size_t left)
{
    float buffer[LANES] = {0};
    memcpy(buffer, x, left * sizeof *x);
    return vec_load(buffer);
}

/* Columns of one chain of additions in each lane; so many chains are added up one after another, those sums by Kahan's
 * method, as in matmul_tile.h. */
enum { CHAIN_COLS = 16 * LANES, SUM_COLS = CHAINS * CHAIN_COLS };

/* A tile of several rows of x has so many rows of w: as many sums as there are registers for. */
enum { ASKS = 4, DOT_ROWS = LANES == 16 ? 4 : 2 };

/* What a tile of rows of w and of x multiplies: constants where it is inlined, but for the pointers. */
struct dots {
    enum phy_weight_type type;
    size_t rows, count, cols;
    bool ask, often; /* for lines of the next block, or of several; no constants */
    const char *w[4];
    const float *x;
};

/* chain[i][j] += LANES columns from k on. */
INLINE void dot_columns(const struct dots *d, vec *chain, size_t k)
{
    const size_t width = phy_weight_float_bytes(d->type), block_bytes = d->rows * d->cols * width;
    const size_t asked = LANES * width * ASKS;
    const size_t blocks_ahead = d->count > 1 || asked <= LINE_BYTES ? 1 : asked / LINE_BYTES;
    vec x[4];
    UNROLL
    for (size_t j = 0; j < d->count; j++)
        x[j] = vec_load(d->x + j * d->cols + k);
    UNROLL
    for (size_t i = 0; i < d->rows; i++) {
        const vec w = load_codes(d->w[i], d->type, k);
        if (d->often) {
            UNROLL
            for (size_t b = 1; b <= blocks_ahead; b++)
                __builtin_prefetch((const void *)((uintptr_t)d->w[i] + k * width + b * block_bytes), 0, 2);
        } else if (d->ask) {
            __builtin_prefetch((const void *)((uintptr_t)d->w[i] + k * width + block_bytes), 0, 2);
        }
        UNROLL
        for (size_t j = 0; j < d->count; j++)
            chain[i * d->count + j] = vec_fma(w, x[j], chain[i * d->count + j]);
    }
}

/* The chains of the columns from k to `end`, whole vectors of them. */
INLINE void dot_chains(const struct dots *d, vec *chain, size_t k, size_t end)
{
    UNROLL
    for (size_t i = 0; i < d->rows * d->count; i++)
        chain[i] = vec_zero();
    for (; k < end; k += LANES)
        dot_columns(d, chain, k);
}

/* The end of the `most` columns from k on, or `end` if that comes first. */
INLINE size_t end_of(size_t k, size_t most, size_t end)
{
    return end - k > most ? k + most : end;
}

/* `rows` rows of w times `count` rows of x; both are constants where this is inlined. Rows lie one after another, so
 * each line read asks for its line of the next blocks: processors look ahead within a page of one stream, and rows are
 * short. Asked for in L2, because L1 has too few lines in flight to wait for memory (Zen 4: 1.1 to 1.9 times faster so
 * from memory, 1.1 into L1). Processors forget what they are asked for while too much is on its way, so each line is
 * asked for ASKS times, of two and more blocks (Zen 4: 1.05 to 1.3 times faster again), unless it is likely in a cache;
 * several rows of x leave no time for more than one block. What lies past the matrix is asked for in vain. */
INLINE void dot_rows(const struct phy_matmul *product, enum phy_weight_type type, size_t r, size_t rows, size_t n,
                     size_t count)
{
    const size_t cols = product->cols, whole = cols - cols % LANES;
    const bool ask = rows > 1 && n == 0;
    vec sum[4 * 4], lost[4 * 4];
    struct dots d = {.type = type,
                     .rows = rows,
                     .count = count,
                     .x = product->x + n * cols,
                     .cols = cols,
                     .ask = ask,
                     .often = ask && !product->cached};
    UNROLL
    for (size_t i = 0; i < rows; i++)
        d.w[i] = (const char *)product->w + (r + i) * cols * phy_weight_float_bytes(type);
    UNROLL
    for (size_t i = 0; i < rows * count; i++)
        sum[i] = lost[i] = vec_zero();
    for (size_t k = 0; k < whole;) {
        const bool first = k == 0;
        const size_t sum_end = end_of(k, SUM_COLS, whole);
        vec part[4 * 4], chain[4 * 4];
        size_t end = end_of(k, CHAIN_COLS, sum_end);
        dot_chains(&d, part, k, end);
        for (k = end; k < sum_end; k = end) {
            end = end_of(k, CHAIN_COLS, sum_end);
            dot_chains(&d, chain, k, end);
            UNROLL
            for (size_t i = 0; i < rows * count; i++)
                part[i] = vec_add(part[i], chain[i]);
        }
        UNROLL
        for (size_t i = 0; i < rows * count; i++) {
            if (first)
                sum[i] = part[i];
            else
                vec_add_kahan(&sum[i], &lost[i], part[i]);
        }
    }
    UNROLL
    for (size_t i = 0; i < rows * count; i++)
        sum[i] = vec_sub(sum[i], lost[i]);
    if (whole < cols) {
        UNROLL
        for (size_t i = 0; i < rows; i++) {
            vec wk = load_codes_tail(d.w[i], type, whole, cols - whole);
            UNROLL
            for (size_t j = 0; j < count; j++)
                sum[i * count + j] =
                    vec_fma(wk, load_floats_tail(d.x + j * cols + whole, cols - whole), sum[i * count + j]);
        }
    }
    vec_store_sums(product->y + n * product->y_stride + r, product->y_stride, sum, rows, count);
}

/* Four rows of w at a time: four streams from memory. The order of a row's sum depends on neither n nor the share. */
INLINE void matvec_typed(const struct phy_matmul *product, enum phy_weight_type type, size_t row_begin, size_t row_end)
{
    size_t r = row_begin;
    for (; r + 4 <= row_end; r += 4) {
        size_t n = 0;
        for (; n + 4 <= product->count; n += 4) {
            UNROLL
            for (size_t i = 0; i < 4; i += DOT_ROWS)
                dot_rows(product, type, r + i, DOT_ROWS, n, 4);
        }
        for (; n < product->count; n++)
            dot_rows(product, type, r, 4, n, 1);
    }
    for (; r < row_end; r++) {
        for (size_t n = 0; n < product->count; n++)
            dot_rows(product, type, r, 1, n, 1);
    }
}

void FORM(phy_matvec)(const struct phy_matmul *product, size_t row_begin, size_t row_end)
{
    switch (product->type) {
    case PHY_WEIGHT_BF16:
        matvec_typed(product, PHY_WEIGHT_BF16, row_begin, row_end);
        break;
    case PHY_WEIGHT_F16:
        matvec_typed(product, PHY_WEIGHT_F16, row_begin, row_end);
        break;
    default:
        matvec_typed(product, PHY_WEIGHT_F32, row_begin, row_end);
        break;
    }
}

/* LANES columns from k of LANES rows from r, widened and turned: lanes[k] holds a column. Rows from `rows` on are zero.
 */
INLINE void load_columns(const struct phy_matmul *product, enum phy_weight_type type, size_t r, size_t rows, size_t k,
                         size_t cols, vec lanes[LANES])
{
    for (size_t i = 0; i < LANES; i++) {
        size_t at = (r + i) * product->cols + k;
        if (i >= rows)
            lanes[i] = vec_zero();
        else
            lanes[i] = cols >= LANES ? load_codes(product->w, type, at) : load_codes_tail(product->w, type, at, cols);
    }
    vec_transpose(lanes);
}

/* panel[k][UNIT_ROWS] = widened w[r + i][k0 + k]; rows past the end are zero. */
INLINE void pack_panel(const struct phy_matmul *product, enum phy_weight_type type, size_t r, size_t rows, size_t k0,
                       size_t cols, float *panel)
{
    for (size_t i = 0; i < UNIT_ROWS; i += LANES) {
        for (size_t k = 0; k < cols; k += LANES) {
            vec lanes[LANES];
            load_columns(product, type, r + i, rows > i ? rows - i : 0, k0 + k, cols - k, lanes);
            for (size_t l = 0; l < LANES && k + l < cols; l++)
                vec_store(panel + (k + l) * UNIT_ROWS + i, lanes[l]);
        }
    }
}

#if TURNED
#define WIDE_COLS TILE_SUM_COLS
#define WIDEN_EARLY false
#define LINE_COLS(type) ((type) == PHY_WEIGHT_F32 ? (size_t)LINE_FLOATS : (size_t)2 * LINE_FLOATS)

INLINE uintptr_t weight_row(const struct phy_matmul *product, enum phy_weight_type type, size_t r, size_t k0)
{
    return (uintptr_t)product->w + (r * product->cols + k0) * phy_weight_float_bytes(type);
}

INLINE void widen_row(const struct phy_matmul *product, enum phy_weight_type type, size_t r, size_t k0, size_t cols,
                      float *to)
{
    const void *w = (const void *)weight_row(product, type, r, k0);
    size_t k = 0;
    for (; k + LANES <= cols; k += LANES)
        vec_store(to + k, load_codes(w, type, k));
    if (k < cols)
        vec_store(to + k, load_codes_tail(w, type, k, cols - k));
}

#include "kernels/matmul_turned_simd.h"

void FORM(phy_turn_rows)(const float *x, size_t count, size_t cols, float *to)
{
    turn_rows(x, cols, count, cols, to);
}
#endif

INLINE void matmul_typed(const struct phy_matmul *product, enum phy_weight_type type, size_t row_begin, size_t row_end,
                         float *panel)
{
#if TURNED
    if (product->x_panels) {
        matmul_turned(product, type, row_begin, row_end, (struct turned_scratch *)panel);
        return;
    }
#endif
    for (size_t r = row_begin; r < row_end; r += UNIT_ROWS) {
        size_t rows = row_end - r < UNIT_ROWS ? row_end - r : UNIT_ROWS;
        for (size_t k0 = 0; k0 < product->cols; k0 += PHY_MATMUL_PANEL_COLS) {
            size_t left = product->cols - k0, cols = left < PHY_MATMUL_PANEL_COLS ? left : PHY_MATMUL_PANEL_COLS;
            pack_panel(product, type, r, rows, k0, cols, panel);
            multiply_panel(product, panel, r, rows, k0, cols);
        }
    }
}

void FORM(phy_matmul)(const struct phy_matmul *product, size_t row_begin, size_t row_end, float *panel)
{
    switch (product->type) {
    case PHY_WEIGHT_BF16:
        matmul_typed(product, PHY_WEIGHT_BF16, row_begin, row_end, panel);
        break;
    case PHY_WEIGHT_F16:
        matmul_typed(product, PHY_WEIGHT_F16, row_begin, row_end, panel);
        break;
    default:
        matmul_typed(product, PHY_WEIGHT_F32, row_begin, row_end, panel);
        break;
    }
}
