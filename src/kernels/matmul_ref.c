/* SPDX-License-Identifier: Apache-2.0 */
/* The products, slow and obvious: one sum after another, in float64. */
#include <string.h>

#include "kernels/matmul_forms.h"
#include "kernels/ref_sums.h"
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

enum { PART = 256 };

/* Rows n .. n + count - 1 of x, at most PHY_MATVEC_MAX_COUNT: each weight is widened once for them. */
static void dot_row(const struct phy_matmul *product, size_t r, size_t n, size_t count)
{
    double sum[PHY_MATVEC_MAX_COUNT] = {0};
    for (size_t k = 0; k < product->cols; k += PART) {
        float values[PART];
        size_t left = product->cols - k, part = left < PART ? left : PART;
        for (size_t i = 0; i < part; i++)
            values[i] = widen(product, r * product->cols + k + i);
        phy_ref_add_rows(sum, values, product->x + n * product->cols + k, product->cols, count, part);
    }
    for (size_t j = 0; j < count; j++)
        product->y[(n + j) * product->y_stride + r] = (float)sum[j];
}

void phy_matvec_ref(const struct phy_matmul *product, size_t row_begin, size_t row_end)
{
    for (size_t r = row_begin; r < row_end; r++) {
        for (size_t n = 0; n < product->count; n += PHY_MATVEC_MAX_COUNT) {
            size_t left = product->count - n;
            dot_row(product, r, n, left < PHY_MATVEC_MAX_COUNT ? left : PHY_MATVEC_MAX_COUNT);
        }
    }
}

void phy_matmul_ref(const struct phy_matmul *product, size_t row_begin, size_t row_end, float *panel)
{
    (void)panel;
    phy_matvec_ref(product, row_begin, row_end);
}
