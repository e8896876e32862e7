/* SPDX-License-Identifier: Apache-2.0 */
/* The products of blocks, slow and obvious: decode a block, add to one sum after another, in float64. */
#include "kernels/block_matmul_forms.h"
#include "kernels/ref_sums.h"

enum { MAX_ELEMENTS = 256 };

/* Rows n .. n + count - 1 of x, at most PHY_MATVEC_MAX_COUNT: each block is decoded once for them. */
static void dot_row(const struct phy_matmul *product, size_t r, size_t n, size_t count)
{
    const struct phy_quant_format *format = phy_weight_format(product->type);
    const size_t row_blocks = (product->cols + format->elements - 1) / format->elements;
    const uint8_t *w = (const uint8_t *)product->w + r * row_blocks * format->bytes;
    double sum[PHY_MATVEC_MAX_COUNT] = {0};
    for (size_t k = 0; k < product->cols; k += format->elements, w += format->bytes) {
        float values[MAX_ELEMENTS];
        size_t left = product->cols - k, elements = left < format->elements ? left : format->elements;
        format->decode(w, 1, values);
        phy_ref_add_rows(sum, values, product->x + n * product->cols + k, product->cols, count, elements);
    }
    for (size_t j = 0; j < count; j++)
        product->y[(n + j) * product->y_stride + r] = (float)sum[j];
}

void phy_block_matvec_ref(const struct phy_matmul *product, size_t row_begin, size_t row_end)
{
    for (size_t r = row_begin; r < row_end; r++) {
        for (size_t n = 0; n < product->count; n += PHY_MATVEC_MAX_COUNT) {
            size_t left = product->count - n;
            dot_row(product, r, n, left < PHY_MATVEC_MAX_COUNT ? left : PHY_MATVEC_MAX_COUNT);
        }
    }
}

void phy_block_matmul_ref(const struct phy_matmul *product, size_t row_begin, size_t row_end, float *panel)
{
    (void)panel;
    phy_block_matvec_ref(product, row_begin, row_end);
}

void phy_block_decode_ref(const struct phy_matmul *product, size_t row_begin, size_t row_end, float *out)
{
    size_t row_bytes;
    if (!phy_weight_row_bytes(product->type, product->cols, &row_bytes))
        return; /* no such matrix fits in memory */
    for (size_t r = row_begin; r < row_end; r++, out += product->cols)
        phy_weight_decode_row(product->type, (const uint8_t *)product->w + r * row_bytes, product->cols, out);
}
