/* SPDX-License-Identifier: Apache-2.0 */
/* Weights to measure with: their values don't matter to the speed, but they are finite and of no model. */
#ifndef PHY_BENCH_MATRICES_H
#define PHY_BENCH_MATRICES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "quant/weight_type.h"

/* Fill `bytes` bytes (whole blocks) of that type: random codes, scales near 1/64. The same for the same seed. */
void phy_bench_fill(enum phy_weight_type type, uint8_t *to, size_t bytes, uint64_t seed);
/* Bytes of a matrix; of a bitmap's columns the share `sparsity` is zero, as many in every row. False when they
 * overflow.
 */
bool phy_bench_matrix_bytes(enum phy_weight_type type, size_t rows, size_t cols, double sparsity, size_t *bytes);
/* Fill a matrix of so many bytes; which columns of a bitmap's row are zero is random. False when memory runs out. */
bool phy_bench_fill_matrix(enum phy_weight_type type, uint8_t *to, size_t rows, size_t cols, double sparsity,
                           uint64_t seed);
/* The sentence of a name that is none. */
#define PHY_BENCH_NO_FORMAT                                                                                            \
    "format '%.32s': not one of bf16 f16 f32 q8_0 q4_0 q4_k q6_k fp8 fp4 mxfp4 bitmap[_bf16|_f16|_f32], all"
/* The type of a format's name as --format takes it, any case: "q4_k", "bf16", "bitmap_f16"; "bitmap" is of bf16. */
bool phy_bench_type_named(const char *name, enum phy_weight_type *type);
/* That name. */
const char *phy_bench_type_name(enum phy_weight_type type);

#endif
