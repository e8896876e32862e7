/* SPDX-License-Identifier: Apache-2.0 */
/* Products of a stored weight matrix with rows of float32 activations: the kernel contract of the families
 * matvec_{bf16,f16,f32} (1 to 8 rows of x) and matmul_{bf16,f16,f32} (any number).
 *
 *   y[n][r] = sum over k of w[r][k] * x[n][k]
 *
 * Weights are widened exactly in the kernel; x is never rounded. Tolerance for every form and family, per element,
 * against the sum in float64: |y - ref| <= 4e-6 * sum |w[r][k] x[n][k]|. Bits of one form don't depend on how rows are
 * shared among threads, nor, within one family, on how many rows of x there are.
 *
 * Aliasing: y overlaps nothing else. Alignment: that of the element. */
#ifndef PHY_KERNELS_MATMUL_H
#define PHY_KERNELS_MATMUL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cpu_features.h"
#include "quant/weight_type.h"

/* PHY_X_PANEL_ROWS: rows of x that lie side by side in a panel. */
enum { PHY_MATVEC_MAX_COUNT = 8, PHY_X_PANEL_ROWS = 16 };

struct phy_matmul {
    const void *w;             /* (rows, cols) row-major, dense */
    enum phy_weight_type type; /* of w */
    size_t rows, cols;
    const float *x; /* (count, cols) row-major, dense */
    size_t count;
    float *y;        /* (count, rows), y_stride elements from row to row */
    size_t y_stride; /* elements */
    /* For matmul, or NULL: x once more, as the form's turn_rows leaves it: (ceil(count / PHY_X_PANEL_ROWS), cols,
     * PHY_X_PANEL_ROWS), 64-byte aligned. The result's bits are the same with and without. */
    const float *x_panels;
    /* w is likely to be in a cache: matvec asks for it ahead once, not several times, which costs as much as reading it
     * does there. The result's bits are the same. */
    bool cached;
};

struct phy_matmul_variant {
    const char *name; /* "ref", "avx2", "avx512" */
    struct phy_cpu_features needs;
    /* Rows row_begin .. row_end - 1 of w. count <= PHY_MATVEC_MAX_COUNT. */
    void (*matvec)(const struct phy_matmul *product, size_t row_begin, size_t row_end);
    /* The same for any count. `panel` is this thread's scratch of PHY_MATMUL_PANEL_BYTES, 64-byte aligned. */
    void (*matmul)(const struct phy_matmul *product, size_t row_begin, size_t row_end, float *panel);
    /* NULL where matmul has no use for x_panels. One panel: count <= PHY_X_PANEL_ROWS rows of x; to: (cols,
     * PHY_X_PANEL_ROWS), 64-byte aligned. */
    void (*turn_rows)(const float *x, size_t count, size_t cols, float *to);
    size_t row_unit; /* rows that matmul takes at a time: cut shares of rows at multiples of it */
};

/* Weights of one panel, widened and transposed: row_unit rows x PHY_MATMUL_PANEL_COLS columns. Half of a second-level
 * cache at most. */
enum { PHY_MATMUL_PANEL_COLS = 1024, PHY_MATMUL_MAX_ROW_UNIT = 48 };
#define PHY_MATMUL_PANEL_BYTES ((size_t)PHY_MATMUL_PANEL_COLS * PHY_MATMUL_MAX_ROW_UNIT * sizeof(float))

/* Slowest first, "ref" at index 0; ends with name NULL. */
extern const struct phy_matmul_variant phy_matmul_variants[];
const struct phy_matmul_variant *phy_matmul_variant_best(const struct phy_cpu_features *have);
/* NULL if there is none of that name. */
const struct phy_matmul_variant *phy_matmul_variant_named(const char *name);

#endif
