/* SPDX-License-Identifier: Apache-2.0 */
/* What the plain forms of products have in common: a few sums of products at a time, each added up one product after
 * another in float64. An addition waits for the one before it; those of other sums need not. */
#ifndef PHY_KERNELS_REF_SUMS_H
#define PHY_KERNELS_REF_SUMS_H

#include <stddef.h>

enum { PHY_REF_SUMS = 4 };

/* sum[j] += a[i] * b[j][i] for i = 0 .. count - 1 in turn. */
static inline void phy_ref_add_products(double sum[PHY_REF_SUMS], const float *a, const float *const b[PHY_REF_SUMS],
                                        size_t count)
{
    double s0 = sum[0], s1 = sum[1], s2 = sum[2], s3 = sum[3];
    for (size_t i = 0; i < count; i++) {
        const double value = (double)a[i];
        s0 += value * (double)b[0][i];
        s1 += value * (double)b[1][i];
        s2 += value * (double)b[2][i];
        s3 += value * (double)b[3][i];
    }
    sum[0] = s0;
    sum[1] = s1;
    sum[2] = s2;
    sum[3] = s3;
}

/* The same for `rows` rows of b, `stride` apart. `sum` has room for whole fours: what lies beyond the last row is
 * computed from it again. */
static inline void phy_ref_add_rows(double *sum, const float *a, const float *b, size_t stride, size_t rows,
                                    size_t count)
{
    for (size_t first = 0; first < rows; first += PHY_REF_SUMS) {
        const float *four[PHY_REF_SUMS];
        for (size_t j = 0; j < PHY_REF_SUMS; j++)
            four[j] = b + (first + j < rows ? first + j : rows - 1) * stride;
        phy_ref_add_products(sum + first, a, four, count);
    }
}

#endif
