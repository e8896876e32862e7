/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PHY_KERNELS_INT8_MATMUL_FORMS_H
#define PHY_KERNELS_INT8_MATMUL_FORMS_H

#include "kernels/int8_matmul.h"

#define PHY_INT8_MATMUL_FORM(form)                                                                                     \
    void phy_int8_round_row_##form(const float *x, struct phy_int8_rows *to, size_t n);                                \
    void phy_int8_matvec_##form(const struct phy_int8_matmul *product, size_t row_begin, size_t row_end);              \
    void phy_int8_matmul_##form(const struct phy_int8_matmul *product, size_t row_begin, size_t row_end, void *panel);
PHY_INT8_MATMUL_FORM(ref)
PHY_INT8_MATMUL_FORM(avx2)
PHY_INT8_MATMUL_FORM(avx512vnni)
void phy_int8_matmul_avx512amx(const struct phy_int8_matmul *product, size_t row_begin, size_t row_end, void *panel);

/* One call of `body(type)` with a constant type. */
#define PHY_INT8_FOR_TYPE(type, body)                                                                                  \
    switch (type) {                                                                                                    \
    case PHY_WEIGHT_Q8_0:                                                                                              \
        body(PHY_WEIGHT_Q8_0);                                                                                         \
        break;                                                                                                         \
    case PHY_WEIGHT_Q4_K:                                                                                              \
        body(PHY_WEIGHT_Q4_K);                                                                                         \
        break;                                                                                                         \
    case PHY_WEIGHT_Q6_K:                                                                                              \
        body(PHY_WEIGHT_Q6_K);                                                                                         \
        break;                                                                                                         \
    default:                                                                                                           \
        break;                                                                                                         \
    }

#endif
