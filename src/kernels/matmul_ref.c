/* SPDX-License-Identifier: Apache-2.0 */
/* The products, slow and obvious: one sum after another, in float64. */
#include <assert.h>
#include <string.h>

#include "kernels/matmul_forms.h"
#include "kernels/ref_sums.h"
#include "quant/small_float.h"

/* Weights from `index` on. */
static void widen(const struct phy_matmul *product, size_t index, size_t count, float *out)
{
    const uint8_t *w = (const uint8_t *)product->w + index * phy_weight_float_bytes(product->type);
    switch (product->type) {
    case PHY_WEIGHT_BF16:
        for (size_t i = 0; i < count; i++)
            out[i] = phy_bf16_widen(phy_load_u16(w + 2 * i));
        break;
    case PHY_WEIGHT_F16:
        for (size_t i = 0; i < count; i++)
            out[i] = phy_f16_load(w + 2 * i);
        break;
    default:
        memcpy(out, w, count * sizeof *out);
    }
}

static_assert((int)PHY_REF_SUMS == (int)PHY_MATVEC_MAX_COUNT, "rows of x at a time");

/* Rows r .. r + rows - 1 of w, at most PHY_REF_ROWS, times rows n .. n + count - 1 of x, at most PHY_REF_SUMS. */
static void dot_rows(const struct phy_matmul *product, size_t r, size_t rows, size_t n, size_t count)
{
    double sum[PHY_REF_ROWS][PHY_REF_SUMS] = {{0}};
    for (size_t k = 0; k < product->cols; k += PHY_REF_PART) {
        struct phy_ref_columns x;
        float values[PHY_REF_PART];
        size_t left = product->cols - k, part = left < PHY_REF_PART ? left : PHY_REF_PART;
        phy_ref_turn(&x, product->x + n * product->cols + k, product->cols, count, part);
        for (size_t i = 0; i < rows; i++) {
            widen(product, (r + i) * product->cols + k, part, values);
            phy_ref_add_products(sum[i], values, &x, part);
        }
    }
    phy_ref_store(sum, rows, count, product->y + n * product->y_stride + r, product->y_stride);
}

void phy_matvec_ref(const struct phy_matmul *product, size_t row_begin, size_t row_end)
{
    for (size_t r = row_begin; r < row_end; r += PHY_REF_ROWS) {
        size_t rows = row_end - r < PHY_REF_ROWS ? row_end - r : PHY_REF_ROWS;
        for (size_t n = 0; n < product->count; n += PHY_REF_SUMS) {
            size_t left = product->count - n;
            dot_rows(product, r, rows, n, left < PHY_REF_SUMS ? left : PHY_REF_SUMS);
        }
    }
}

void phy_matmul_ref(const struct phy_matmul *product, size_t row_begin, size_t row_end, float *panel)
{
    (void)panel;
    phy_matvec_ref(product, row_begin, row_end);
}
