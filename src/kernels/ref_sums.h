/* SPDX-License-Identifier: Apache-2.0 */
/* What the plain forms of products have in common: a few sums of products at a time, each added up one product after
 * another in float64. An addition waits for the one before it; those of other sums need not. */
#ifndef PHY_KERNELS_REF_SUMS_H
#define PHY_KERNELS_REF_SUMS_H

#include <stddef.h>

#include "kernels/matmul.h"
#include "quant/weight_type.h"

/* PHY_REF_PART: columns at a time; whole blocks of every format. PHY_REF_ROWS: rows of w that share what is made of a
 * part of x. */
enum { PHY_REF_SUMS = 8, PHY_REF_PART = 256, PHY_REF_ROWS = 16 };

/* Eight rows of a part, widened and column by column, so that one vector instruction serves several rows. */
struct phy_ref_columns {
    double value[PHY_REF_PART][PHY_REF_SUMS];
};

/* `rows` <= PHY_REF_SUMS rows of x, `stride` apart, `count` <= PHY_REF_PART columns; rows that are not there are zeros.
 */
static inline void phy_ref_turn(struct phy_ref_columns *to, const float *x, size_t stride, size_t rows, size_t count)
{
    for (size_t j = 0; j < PHY_REF_SUMS; j++) {
        for (size_t i = 0; i < count; i++)
            to->value[i][j] = j < rows ? (double)x[j * stride + i] : 0;
    }
}

/* sum[j] += a[i] * columns[i][j] for i = 0 .. count - 1 in turn. */
static inline void phy_ref_add_products(double sum[PHY_REF_SUMS], const float *a, const struct phy_ref_columns *columns,
                                        size_t count)
{
    double s[PHY_REF_SUMS];
    for (size_t j = 0; j < PHY_REF_SUMS; j++)
        s[j] = sum[j];
    for (size_t i = 0; i < count; i++) {
        const double value = (double)a[i];
        for (size_t j = 0; j < PHY_REF_SUMS; j++)
            s[j] += value * columns->value[i][j];
    }
    for (size_t j = 0; j < PHY_REF_SUMS; j++)
        sum[j] = s[j];
}

/* The same for `rows` rows of blocks of `cols` columns, from row r on, and `count` columns of them from k on. */
static inline void phy_ref_add_blocks(double sum[PHY_REF_ROWS][PHY_REF_SUMS], const struct phy_quant_format *format,
                                      const void *w, size_t cols, size_t r, size_t rows, size_t k, size_t count,
                                      const struct phy_ref_columns *columns)
{
    const size_t row_blocks = (cols + format->elements - 1) / format->elements;
    const size_t first = k / format->elements, blocks = (count + format->elements - 1) / format->elements;
    for (size_t i = 0; i < rows; i++) {
        float values[PHY_REF_PART];
        format->decode((const uint8_t *)w + ((r + i) * row_blocks + first) * format->bytes, blocks, values);
        phy_ref_add_products(sum[i], values, columns, count);
    }
}

/* y[j][i] = sum[i][j]; y's rows are `stride` apart. */
static inline void phy_ref_store(double sum[PHY_REF_ROWS][PHY_REF_SUMS], size_t rows, size_t count, float *y,
                                 size_t stride)
{
    for (size_t i = 0; i < rows; i++) {
        for (size_t j = 0; j < count; j++)
            y[j * stride + i] = (float)sum[i][j];
    }
}

#endif
