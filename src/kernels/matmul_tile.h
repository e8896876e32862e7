/* SPDX-License-Identifier: Apache-2.0 */
/* The register tile of the products of many rows of x, whatever the weights were before they were widened. Included
 * after vec_<form>.h and
 *
 *   UNIT_VECS, TILE_COUNT   the tile: UNIT_VECS vectors of rows x TILE_COUNT rows of x
 *   CHAIN                   columns of one chain of additions
 *
 * A product's columns are added up in chains of CHAIN, CHAINS of them one after another, and those sums in pairs of
 * floats by Kahan's method (W. Kahan, "Further remarks on reducing truncation errors", CACM 8(1), 1965): the error is
 * that of CHAIN + CHAINS additions however wide the matrix is. */
#ifndef PHY_KERNELS_MATMUL_TILE_H
#define PHY_KERNELS_MATMUL_TILE_H

#include <stdbool.h>

#include "kernels/matmul.h"
#include "kernels/vec_math.h"

enum { UNIT_ROWS = UNIT_VECS * LANES, CHAINS = 8 };

/* One vector for each row of x and each vector of rows. */
typedef vec tile_vecs[TILE_COUNT][UNIT_VECS];

#define FOR_TILE(count, body)                                                                                          \
    UNROLL                                                                                                             \
    for (size_t j = 0; j < (count); j++) {                                                                             \
        UNROLL                                                                                                         \
        for (size_t v = 0; v < UNIT_VECS; v++)                                                                         \
            body;                                                                                                      \
    }

/* chain[j][v] += w[v] * x[j] over `cols` columns. Unrolled, as a short chain ends sooner than the branch that ends it
 * is foreseen. */
INLINE void tile_chain(tile_vecs chain, const float *panel, const float *x, size_t stride, size_t count, size_t cols)
{
    UNROLL_8
    for (size_t k = 0; k < cols; k++) {
        vec w[UNIT_VECS];
        UNROLL
        for (size_t v = 0; v < UNIT_VECS; v++)
            w[v] = vec_load(panel + k * UNIT_ROWS + v * LANES);
        UNROLL
        for (size_t j = 0; j < count; j++) {
            const vec xk = vec_set1(x[j * stride + k]);
            UNROLL
            for (size_t v = 0; v < UNIT_VECS; v++)
                chain[j][v] = vec_fma(w[v], xk, chain[j][v]);
        }
    }
}

enum {
    LINE_FLOATS = 16,
    TILE_SUM_COLS = CHAIN * CHAINS,
    TILE_VECS = TILE_COUNT * UNIT_VECS,
    FOLDS = (TILE_VECS + CHAINS - 1) / CHAINS /* sums a chain */
};

/* What a tile keeps in memory: the sums of the last TILE_SUM_COLS columns, which are added to the totals a few at a
 * time between the chains that follow, as all at once they would hold up the multiplications (Zen 4: by 6%, so by 3%).
 * The first sums are the totals; `lost` holds from the third on, and nothing before. */
struct tile_state {
    vec sum[FOLDS * CHAINS], total[FOLDS * CHAINS], lost[FOLDS * CHAINS];
};

INLINE void fold_some(struct tile_state *state, size_t step)
{
    UNROLL
    for (size_t i = step * FOLDS; i < (step + 1) * FOLDS; i++)
        vec_add_kahan(&state->total[i], &state->lost[i], state->sum[i]);
}

/* The whole, with the last sum. */
INLINE vec kahan_end(const struct tile_state *state, size_t i, vec sum)
{
    vec total = state->total[i], lost = state->lost[i];
    vec_add_kahan(&total, &lost, sum);
    return vec_sub(total, lost);
}

/* sum += one chain of `cols` columns. */
INLINE void add_chain(tile_vecs sum, const float *panel, const float *x, size_t stride, size_t count, size_t cols)
{
    tile_vecs chain;
    FOR_TILE(count, chain[j][v] = vec_zero())
    tile_chain(chain, panel, x, stride, count, cols);
    FOR_TILE(count, sum[j][v] = vec_add(sum[j][v], chain[j][v]))
}

/* Ask for the lines that `columns` columns of `count` rows lie in; to_write is a constant. */
INLINE void ask_for(const float *rows, size_t stride, size_t count, size_t columns, int to_write)
{
    UNROLL
    for (size_t j = 0; j < count; j++) {
        UNROLL
        for (size_t k = 0; k < columns; k += LINE_FLOATS) {
            const void *line = (const void *)((uintptr_t)rows + (j * stride + k) * sizeof *rows);
            if (to_write)
                __builtin_prefetch(line, 1);
            else
                __builtin_prefetch(line, 0);
        }
    }
}

/* y = or += of a tile. */
INLINE void put_tile(const struct phy_matmul *product, tile_vecs whole, size_t r, size_t rows, size_t n, size_t count,
                     bool add)
{
    UNROLL
    for (size_t j = 0; j < count; j++) {
        float *y = product->y + (n + j) * product->y_stride + r;
        float lanes[UNIT_ROWS];
        float *to = rows == UNIT_ROWS ? y : lanes;
        UNROLL
        for (size_t v = 0; v < UNIT_VECS; v++)
            vec_store(to + v * LANES, add && to == y ? vec_add(vec_load(y + v * LANES), whole[j][v]) : whole[j][v]);
        for (size_t i = 0; to != y && i < rows; i++)
            y[i] = add ? y[i] + lanes[i] : lanes[i];
    }
}

/* One register tile: UNIT_ROWS rows x `count` rows of x over `cols` columns; added to y unless it is the first panel.
 * While it is at work it asks for the next rows of x, and for its own of y; what lies past them is asked for in vain.
 */
INLINE void tile(const struct phy_matmul *product, const float *panel, size_t r, size_t rows, size_t n, size_t count,
                 size_t k0, size_t cols)
{
    const size_t stride = product->cols, sums = (cols + TILE_SUM_COLS - 1) / TILE_SUM_COLS;
    const float *x = product->x + n * stride + k0;
    struct tile_state state;
    tile_vecs sum;
    ask_for(product->y + n * product->y_stride + r, product->y_stride, count, UNIT_ROWS, 1);
    for (size_t i = 0; i < sums; i++) {
        const bool last = i + 1 == sums;
        const size_t left = last ? cols - i * TILE_SUM_COLS : TILE_SUM_COLS;
        size_t k = 0, step = 0;
        FOR_TILE(count, sum[j][v] = vec_zero())
        for (; k + CHAIN <= left; k += CHAIN, step++) {
            if (k % LINE_FLOATS == 0)
                ask_for(x + k + count * stride, stride, count, LINE_FLOATS, 0);
            add_chain(sum, panel + k * UNIT_ROWS, x + k, stride, count, CHAIN);
            if (i > 1 && step * FOLDS < TILE_VECS)
                fold_some(&state, step);
        }
        if (k < left)
            add_chain(sum, panel + k * UNIT_ROWS, x + k, stride, count, left - k);
        for (; i > 1 && step * FOLDS < TILE_VECS; step++)
            fold_some(&state, step);
        panel += TILE_SUM_COLS * UNIT_ROWS;
        x += TILE_SUM_COLS;
        if (last)
            break;
        if (i > 0) {
            FOR_TILE(count, state.sum[j * UNIT_VECS + v] = sum[j][v])
        } else {
            FOR_TILE(count, state.total[j * UNIT_VECS + v] = sum[j][v])
            for (size_t f = 0; f < TILE_VECS; f++)
                state.lost[f] = vec_zero();
        }
    }
    if (sums > 1) {
        FOR_TILE(count, sum[j][v] = kahan_end(&state, j * UNIT_VECS + v, sum[j][v]))
    }
    put_tile(product, sum, r, rows, n, count, k0 > 0);
}

/* A panel of `cols` columns from k0 times all rows of x. */
INLINE void multiply_panel(const struct phy_matmul *product, const float *panel, size_t r, size_t rows, size_t k0,
                           size_t cols)
{
    size_t n = 0;
    for (; n + TILE_COUNT <= product->count; n += TILE_COUNT)
        tile(product, panel, r, rows, n, TILE_COUNT, k0, cols);
    for (; n + 4 <= product->count; n += 4)
        tile(product, panel, r, rows, n, 4, k0, cols);
    for (; n < product->count; n++)
        tile(product, panel, r, rows, n, 1, k0, cols);
}

#endif
