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

/* One register tile: UNIT_ROWS rows x `count` rows of x over `cols` columns; added to y unless it is the first panel.
 */
INLINE void tile(const struct phy_matmul *product, const float *panel, size_t r, size_t rows, size_t n, size_t count,
                 size_t k0, size_t cols)
{
    tile_vecs total, lost;
    const float *x = product->x + n * product->cols + k0;
    FOR_TILE(count, total[j][v] = lost[j][v] = vec_zero())
    for (size_t k = 0; k < cols;) {
        const size_t end = cols - k > CHAIN * CHAINS ? k + CHAIN * CHAINS : cols;
        tile_vecs sum;
        FOR_TILE(count, sum[j][v] = vec_zero())
        for (; k < end; k += CHAIN) {
            tile_vecs chain;
            FOR_TILE(count, chain[j][v] = vec_zero())
            if (end - k >= CHAIN)
                tile_chain(chain, panel + k * UNIT_ROWS, x + k, product->cols, count, CHAIN);
            else
                tile_chain(chain, panel + k * UNIT_ROWS, x + k, product->cols, count, end - k);
            FOR_TILE(count, sum[j][v] = vec_add(sum[j][v], chain[j][v]))
        }
        FOR_TILE(count, vec_add_kahan(&total[j][v], &lost[j][v], sum[j][v]))
    }
    UNROLL
    for (size_t j = 0; j < count; j++) {
        float *y = product->y + (n + j) * product->y_stride + r;
        float lanes[UNIT_ROWS];
        float *to = rows == UNIT_ROWS ? y : lanes;
        UNROLL
        for (size_t v = 0; v < UNIT_VECS; v++) {
            const vec whole = vec_sub(total[j][v], lost[j][v]);
            vec_store(to + v * LANES, k0 && to == y ? vec_add(vec_load(y + v * LANES), whole) : whole);
        }
        for (size_t i = 0; to != y && i < rows; i++)
            y[i] = k0 ? y[i] + lanes[i] : lanes[i];
    }
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
