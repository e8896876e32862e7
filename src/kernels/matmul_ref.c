/* SPDX-License-Identifier: Apache-2.0 */
/* The products, slow and obvious: one sum after another, in float64. */
#include <string.h>

#include "kernels/matmul_forms.h"

static float widen_f16(uint16_t code)
{
    uint32_t magnitude = code & 0x7FFFu, bits;
    if (magnitude >= 0x7C00u)
        bits = 0x7F800000u | (magnitude & 0x3FFu) << 13;
    else if (magnitude >= 0x400u)
        bits = (magnitude << 13) + (112u << 23);
    else { /* a binary16 subnormal: magnitude * 2^-24, exact in binary32 */
        float value = (float)magnitude * 5.9604644775390625e-8f;
        memcpy(&bits, &value, 4);
    }
    bits |= (uint32_t)(code & 0x8000u) << 16;
    float out;
    memcpy(&out, &bits, 4);
    return out;
}

static float widen(const struct phy_matmul *product, size_t index)
{
    uint16_t half;
    uint32_t bits;
    float out;
    switch (product->type) {
    case PHY_FLOAT_BF16:
        memcpy(&half, (const char *)product->w + index * 2, 2);
        bits = (uint32_t)half << 16;
        memcpy(&out, &bits, 4);
        return out;
    case PHY_FLOAT_F16:
        memcpy(&half, (const char *)product->w + index * 2, 2);
        return widen_f16(half);
    default:
        memcpy(&out, (const char *)product->w + index * 4, 4);
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
