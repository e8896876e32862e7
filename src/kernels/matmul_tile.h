/* SPDX-License-Identifier: Apache-2.0 */
/* The register tile of the products of many rows of x, whatever the weights were before they were widened. Included
 * after vec_<form>.h and
 *
 *   UNIT_VECS, TILE_COUNT   the tile: UNIT_VECS vectors of rows x TILE_COUNT rows of x
 */
#ifndef PHY_KERNELS_MATMUL_TILE_H
#define PHY_KERNELS_MATMUL_TILE_H

#include "kernels/matmul.h"
#include "kernels/vec_math.h"

enum { UNIT_ROWS = UNIT_VECS * LANES };

/* One register tile: UNIT_ROWS rows x `count` rows of x over `cols` columns; added to y unless it is the first panel.
 */
INLINE void tile(const struct phy_matmul *product, const float *panel, size_t r, size_t rows, size_t n, size_t count,
                 size_t k0, size_t cols)
{
    vec sum[TILE_COUNT][UNIT_VECS];
    UNROLL
    for (size_t j = 0; j < count; j++) {
        UNROLL
        for (size_t v = 0; v < UNIT_VECS; v++)
            sum[j][v] = vec_zero();
    }
    const float *x = product->x + n * product->cols + k0;
    for (size_t k = 0; k < cols; k++) {
        vec w[UNIT_VECS];
        UNROLL
        for (size_t v = 0; v < UNIT_VECS; v++)
            w[v] = vec_load(panel + k * UNIT_ROWS + v * LANES);
        UNROLL
        for (size_t j = 0; j < count; j++) {
            vec xk = vec_set1(x[j * product->cols + k]);
            UNROLL
            for (size_t v = 0; v < UNIT_VECS; v++)
                sum[j][v] = vec_fma(w[v], xk, sum[j][v]);
        }
    }
    UNROLL
    for (size_t j = 0; j < count; j++) {
        float *y = product->y + (n + j) * product->y_stride + r;
        if (rows == UNIT_ROWS) {
            UNROLL
            for (size_t v = 0; v < UNIT_VECS; v++)
                vec_store(y + v * LANES, k0 ? vec_add(vec_load(y + v * LANES), sum[j][v]) : sum[j][v]);
            continue;
        }
        float lanes[UNIT_ROWS];
        float *to = rows == UNIT_ROWS ? y : lanes;
        UNROLL
        for (size_t v = 0; v < UNIT_VECS; v++) {
            vec before = k0 && to == y ? vec_load(y + v * LANES) : vec_zero();
            vec_store(to + v * LANES, vec_add(before, sum[j][v]));
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
