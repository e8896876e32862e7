/* SPDX-License-Identifier: Apache-2.0 */
/* Products of a matrix whose zeros are left out (quant/bitmap.h) with rows of float32 activations: the kernel contract
 * of the family bitmap.
 *
 *   matvec   y[n][r - row_begin] = sum over k of w[r][k] * x[n][k]      1 to PHY_BITMAP_MATVEC_COUNT rows of x
 *   decode   out (row_end - row_begin, cols): the weights as float32, bit for bit as phy_weight_decode_row gives them
 *
 * Tolerance of matvec, per element, against the sum in float64: 4e-6 * sum |w[r][k] x[n][k]|. Its bits don't depend on
 * how rows are shared, nor on how many rows of x there are. For many rows of x a caller decodes some of w and
 * multiplies them as float32 (kernels/matmul.h). A zero that is left out still is a factor: where x is not finite, y is
 * not a number, as with the whole matrix. The matrix has passed phy_bitmap_check. */
#ifndef PHY_KERNELS_BITMAP_MATMUL_H
#define PHY_KERNELS_BITMAP_MATMUL_H

#include "base/cpu_features.h"
#include "quant/bitmap.h"

enum { PHY_BITMAP_MATVEC_COUNT = 8 };

struct phy_bitmap_product {
    struct phy_bitmap w;
    const float *x; /* (count, cols) */
    size_t count;
    float *y;        /* (count, row_end - row_begin), y_stride elements from row to row */
    size_t y_stride; /* elements */
};

struct phy_bitmap_variant {
    const char *name; /* "ref", "avx2", "avx512" */
    struct phy_cpu_features needs;
    void (*matvec)(const struct phy_bitmap_product *product, size_t row_begin, size_t row_end);
    void (*decode)(const struct phy_bitmap *w, size_t row_begin, size_t row_end, float *out);
};

/* Slowest first, "ref" at index 0; ends with name NULL. */
extern const struct phy_bitmap_variant phy_bitmap_variants[];
const struct phy_bitmap_variant *phy_bitmap_variant_best(const struct phy_cpu_features *have);

#endif
