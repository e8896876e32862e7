/* SPDX-License-Identifier: Apache-2.0 */
/* Rows of a stored matrix by list: the kernel contract of the families walk_<format>, for every type of
 * quant/weight_type.h, floats included.
 *
 *   dots   out[i] = sum over k of w[features[i]][k] * x[k]
 *   add    y[c]   = sum over i, ascending, of a[i] * w[features[i]][c]      for col_begin <= c < col_end
 *
 * Tolerance per element against the sum in float64: 4e-6 * the sum of the products' magnitudes. Weights are decoded as
 * in kernels/block_matmul.h. Bits of dots don't depend on how the list is cut, nor those of add on how the columns are:
 * each y[c] is added up in the list's order. */
#ifndef PHY_KERNELS_WALK_H
#define PHY_KERNELS_WALK_H

#include <stddef.h>
#include <stdint.h>

#include "base/cpu_features.h"
#include "quant/weight_type.h"

struct phy_walk_matrix {
    const void *w; /* rows of phy_weight_row_bytes */
    enum phy_weight_type type;
    size_t cols;
};

/* Cut the columns of add at multiples of this: whole blocks of every format. */
enum { PHY_WALK_COL_UNIT = 256, PHY_WALK_MAX_ROWS = 8 };

struct phy_walk_variant {
    const char *name; /* "ref", "avx2", "avx512" */
    struct phy_cpu_features needs;
    void (*dots)(const struct phy_walk_matrix *matrix, const uint32_t *features, size_t count, const float *x,
                 float *out);
    /* col_begin is a multiple of PHY_WALK_COL_UNIT, and so is col_end unless it is cols. */
    void (*add)(const struct phy_walk_matrix *matrix, const uint32_t *features, const float *a, size_t count,
                size_t col_begin, size_t col_end, float *y);
    /* Or NULL: the same for `rows` rows of x, at most PHY_WALK_MAX_ROWS, with the bits that each has alone. x and y
     * (rows, cols); out and a (rows, count), `stride` elements from row to row. A row's a of zero adds nothing,
     * whatever the weight. */
    void (*dots_rows)(const struct phy_walk_matrix *matrix, const uint32_t *features, size_t count, const float *x,
                      size_t rows, float *out, size_t stride);
    void (*add_rows)(const struct phy_walk_matrix *matrix, const uint32_t *features, const float *a, size_t stride,
                     size_t count, size_t rows, size_t col_begin, size_t col_end, float *y);
};

/* Slowest first, "ref" at index 0; ends with name NULL. */
extern const struct phy_walk_variant phy_walk_variants[];
const struct phy_walk_variant *phy_walk_variant_best(const struct phy_cpu_features *have);

#endif
