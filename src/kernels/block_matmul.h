/* SPDX-License-Identifier: Apache-2.0 */
/* Products of a matrix of blocks with rows of float32 activations: the kernel contract of the families
 * matvec_<format> (1 to 8 rows of x), matmul_<format> (any number) and decode_<format>, for every block format of
 * quant/weight_type.h: q8_0, q4_0, q4_K, q6_K, vindex_fp8, vindex_fp4, mxfp4. bf16, f16 and f32 are kernels/matmul.h's.
 *
 *   y[n][r] = sum over k < cols of w[r][k] * x[n][k]
 *
 * Rows of w are whole blocks, phy_weight_row_bytes each, nothing between. x is (count, cols), not padded: what the last
 * block of a row holds beyond cols is not multiplied at all. Blocks are decoded in the kernel to the values that
 * docs/quant.md gives, bit for bit but for the sign of zeros; x is never rounded. Tolerance for every form and family,
 * per element, against the sum in float64: |y - ref| <= 4e-6 * sum |w[r][k] x[n][k]|. Bits of one form don't depend on
 * how rows are shared among threads, nor, within one family, on how many rows of x there are.
 *
 * Aliasing: y overlaps nothing else. Alignment: none for w, the element's for x and y. */
#ifndef PHY_KERNELS_BLOCK_MATMUL_H
#define PHY_KERNELS_BLOCK_MATMUL_H

#include "kernels/matmul.h"

struct phy_block_matmul_variant {
    const char *name; /* "ref", "avx2", "avx512" */
    struct phy_cpu_features needs;
    /* As those of struct phy_matmul_variant; type is a block format, or f32: decoded blocks. */
    void (*matvec)(const struct phy_matmul *product, size_t row_begin, size_t row_end);
    void (*matmul)(const struct phy_matmul *product, size_t row_begin, size_t row_end, float *panel);
    size_t row_unit;
    /* Rows row_begin .. row_end - 1 of w to `out`, (row_end - row_begin, cols) dense. x and y are not looked at. Any
     * type, floats included. */
    void (*decode)(const struct phy_matmul *product, size_t row_begin, size_t row_end, float *out);
};

/* Slowest first, "ref" at index 0; ends with name NULL. */
extern const struct phy_block_matmul_variant phy_block_matmul_variants[];
const struct phy_block_matmul_variant *phy_block_matmul_variant_best(const struct phy_cpu_features *have);

#endif
