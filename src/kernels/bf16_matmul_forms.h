/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PHY_KERNELS_BF16_MATMUL_FORMS_H
#define PHY_KERNELS_BF16_MATMUL_FORMS_H

#include "kernels/bf16_matmul.h"

size_t phy_bf16_row_bytes_avx512bf16(size_t cols);
void phy_bf16_round_row_avx512bf16(const float *x, size_t cols, void *to);
void phy_bf16_turn_rows_avx512bf16(const void *rows, size_t count, size_t cols, void *panel);
void phy_bf16_matvec_avx512bf16(const struct phy_bf16_matmul *product, size_t row_begin, size_t row_end);
void phy_bf16_matmul_avx512bf16(const struct phy_bf16_matmul *product, size_t row_begin, size_t row_end, float *panel);
void phy_bf16_matmul_avx512amx(const struct phy_bf16_matmul *product, size_t row_begin, size_t row_end, float *panel);

#endif
