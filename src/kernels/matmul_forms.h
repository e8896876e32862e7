/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PHY_KERNELS_MATMUL_FORMS_H
#define PHY_KERNELS_MATMUL_FORMS_H

#include "kernels/matmul.h"

#define PHY_MATMUL_FORM(form)                                                                                          \
    void phy_matvec_##form(const struct phy_matmul *product, size_t row_begin, size_t row_end);                        \
    void phy_matmul_##form(const struct phy_matmul *product, size_t row_begin, size_t row_end, float *panel);
PHY_MATMUL_FORM(ref)
PHY_MATMUL_FORM(avx2)
PHY_MATMUL_FORM(avx512)
void phy_turn_rows_avx512(const float *x, size_t count, size_t cols, float *to);

#endif
