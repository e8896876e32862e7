/* SPDX-License-Identifier: Apache-2.0 */
/* Products whose register tiles hold rows of x in their lanes, and broadcast weights. Rows of x are put into lanes once
 * for all weights; these then are read as they lie, where panels of weights (matmul_tile.h) are turned for each product
 * and pay only when many rows of x share them. Both add up in the same order: the same bits. Included after
 * vec_<form>.h, with LANES == PHY_X_PANEL_ROWS.
 *
 * A unit of rows is multiplied by up to TURNED_VECS panels of x; the results lie one row of w after another until they
 * are turned back into y. */
#ifndef PHY_KERNELS_MATMUL_TURNED_H
#define PHY_KERNELS_MATMUL_TURNED_H

#include "kernels/matmul.h"
#include "kernels/vec_math.h"

enum { TURNED_ROWS = PHY_MATMUL_MAX_ROW_UNIT, TURNED_VECS = 4, TURNED_LANES = TURNED_VECS * LANES };

/* Part of a thread's scratch. */
struct turned {
    float out[TURNED_ROWS][TURNED_LANES];
};

/* to[k][LANES] = x[n][k]; lanes from `count` on are zero. */
INLINE void turn_rows(const float *x, size_t stride, size_t count, size_t cols, float *to)
{
    for (size_t k = 0; k < cols; k += LANES) {
        const size_t left = cols - k < LANES ? cols - k : LANES;
        vec lanes[LANES];
        for (size_t n = 0; n < LANES; n++)
            lanes[n] = n >= count ? vec_zero() : vec_load_some(x + n * stride + k, left);
        vec_transpose(lanes);
        for (size_t i = 0; i < left; i++)
            vec_store(to + (k + i) * LANES, lanes[i]);
    }
}

/* y[n][r] = out[r][n] of `rows` rows of w and `count` of x. */
INLINE void put_turned(const struct turned *turned, size_t rows, float *y, size_t y_stride, size_t count)
{
    for (size_t r = 0; r < rows; r += LANES) {
        const size_t many = rows - r < LANES ? rows - r : LANES;
        for (size_t n = 0; n < count; n += LANES) {
            vec lanes[LANES];
            for (size_t i = 0; i < LANES; i++)
                lanes[i] = i < many ? vec_load(turned->out[r + i] + n) : vec_zero();
            vec_transpose(lanes);
            for (size_t i = 0; i < LANES && n + i < count; i++)
                vec_store_some(y + (n + i) * y_stride + r, lanes[i], many);
        }
    }
}

/* out[r + j] = or += a tile of `vecs` vectors for each of `count` rows. */
INLINE void add_turned(struct turned *turned, size_t r, size_t vecs, size_t count, const vec *whole, bool add)
{
    UNROLL
    for (size_t j = 0; j < count; j++) {
        UNROLL
        for (size_t v = 0; v < vecs; v++) {
            float *to = turned->out[r + j] + v * LANES;
            const vec value = whole[j * vecs + v];
            vec_store(to, add ? vec_add(vec_load(to), value) : value);
        }
    }
}

#endif
