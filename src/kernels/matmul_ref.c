/* SPDX-License-Identifier: Apache-2.0 */
/* The products, slow and obvious: one sum after another, in float64. */
#include <string.h>

#include "kernels/matmul_forms.h"
#include "quant/small_float.h"

static float widen(const struct phy_matmul *product, size_t index)
{
    const char *w = product->w;
    float out;
    switch (product->type) {
    case PHY_WEIGHT_BF16:
        return phy_bf16_widen(phy_load_u16(w + index * 2));
    case PHY_WEIGHT_F16:
        return phy_f16_widen(phy_load_u16(w + index * 2));
    default:
        memcpy(&out, w + index * 4, 4);
        return out;
    }
}

void phy_matvec_ref(const struct phy_matmul *product, size_t row_begin, size_t row_end)
{
    for (size_t r = row_begin; r < row_end; r++) {
        for (size_t n = 0; n < product->count; n++) {
            double sum = 0;
            for (size_t k = 0; k < product->cols; k++)
                sum += (double)widen(product, r * product->cols + k) * (double)product->x[n * product->cols + k];
            product->y[n * product->y_stride + r] = (float)sum;
        }
    }
}

void phy_matmul_ref(const struct phy_matmul *product, size_t row_begin, size_t row_end, float *panel)
{
    (void)panel;
    phy_matvec_ref(product, row_begin, row_end);
}
