/* SPDX-License-Identifier: Apache-2.0 */
/* Products of a bf16 matrix with activations that were rounded to bf16: the kernel contract of the families bf16_matvec
 * and bf16_matmul. It is a kernel of its own, not a looser form of kernels/matmul.h: rounding x costs up to 2^-9 of
 * each value. In exchange a processor that multiplies pairs of bf16 (AVX512-BF16) does twice the operations a cycle.
 *
 *   y[n][r] = sum over k of w[r][k] * b(x[n][k])
 *
 * b rounds to the nearest bf16, ties to even; magnitudes below 2^-126 become zeros of their sign, and a NaN stays one.
 * Every form rounds to the same values. Tolerance for every form, per element, against the sum of the rounded x in
 * float64: |y - ref| <= 4e-6 * sum |w[r][k] b(x[n][k])|, where the instructions of AVX512-BF16 and of AMX count a
 * weight below 2^-126 as zero. Bits of one form don't depend on how rows are shared among threads nor, within one
 * family, on how many rows of x there are.
 *
 * Aliasing: y overlaps nothing else. Alignment: that of the element; the first rounded row lies on 64 bytes. */
#ifndef PHY_KERNELS_BF16_MATMUL_H
#define PHY_KERNELS_BF16_MATMUL_H

#include "kernels/matmul.h"

struct phy_bf16_matmul {
    const void *w; /* (rows, cols) bf16, row-major, dense */
    size_t rows, cols;
    /* (count) rows as the same variant's round_row leaves them, row_bytes(cols) each; for matmul of a variant that has
     * turn_rows, panels as that leaves them, PHY_X_PANEL_ROWS * row_bytes(cols) each. */
    const void *x;
    size_t count;
    float *y;        /* (count, rows), y_stride elements from row to row */
    size_t y_stride; /* elements */
    bool cached;     /* as that of struct phy_matmul */
};

struct phy_bf16_matmul_variant {
    const char *name; /* "ref", "avx2", "avx512", "avx512bf16", "avx512amx" */
    struct phy_cpu_features needs;
    /* Of a rounded row, which holds what suits the form: floats, or bf16. */
    size_t (*row_bytes)(size_t cols);
    void (*round_row)(const float *x, size_t cols, void *to);
    /* Or NULL. One panel of count <= PHY_X_PANEL_ROWS rounded rows; both 64-byte aligned. */
    void (*turn_rows)(const void *rows, size_t count, size_t cols, void *panel);
    /* As those of struct phy_matmul_variant. */
    void (*matvec)(const struct phy_bf16_matmul *product, size_t row_begin, size_t row_end);
    void (*matmul)(const struct phy_bf16_matmul *product, size_t row_begin, size_t row_end, float *panel);
};

/* Slowest first, "ref" at index 0; ends with name NULL. */
extern const struct phy_bf16_matmul_variant phy_bf16_matmul_variants[];
const struct phy_bf16_matmul_variant *phy_bf16_matmul_variant_best(const struct phy_cpu_features *have);

#endif
