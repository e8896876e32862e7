/* SPDX-License-Identifier: Apache-2.0 */
/* What the plain forms of products have in common: a few sums of products at a time, each added up one product after
 * another in float64. An addition waits for the one before it; those of other sums need not. */
#ifndef PHY_KERNELS_REF_SUMS_H
#define PHY_KERNELS_REF_SUMS_H

#include <stddef.h>

/* PHY_REF_PART: columns at a time; whole blocks of every format. */
enum { PHY_REF_SUMS = 8, PHY_REF_PART = 256 };

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

#endif
