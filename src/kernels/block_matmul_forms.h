/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PHY_KERNELS_BLOCK_MATMUL_FORMS_H
#define PHY_KERNELS_BLOCK_MATMUL_FORMS_H

#include "kernels/block_matmul.h"

#define PHY_BLOCK_MATMUL_FORM(form)                                                                                    \
    void phy_block_matvec_##form(const struct phy_matmul *product, size_t row_begin, size_t row_end);                  \
    void phy_block_matmul_##form(const struct phy_matmul *product, size_t row_begin, size_t row_end, float *panel);    \
    void phy_block_decode_##form(const struct phy_matmul *product, size_t row_begin, size_t row_end, float *out);
PHY_BLOCK_MATMUL_FORM(ref)
PHY_BLOCK_MATMUL_FORM(avx2)
PHY_BLOCK_MATMUL_FORM(avx512)

#endif
