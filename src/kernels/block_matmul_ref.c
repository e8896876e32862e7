/* SPDX-License-Identifier: Apache-2.0 */
/* The products of blocks, slow and obvious: decode a block, add to one sum after another, in float64. */
#include <assert.h>

#include "kernels/block_matmul_forms.h"
#include "kernels/ref_sums.h"

/* Rows of w that share what is made of a part of x. */
enum { ROWS = 16 };
static_assert((int)PHY_REF_SUMS == (int)PHY_MATVEC_MAX_COUNT, "rows of x at a time");

/* Rows r .. r + rows - 1 of w, at most ROWS, times rows n .. n + count - 1 of x, at most PHY_REF_SUMS. */
static void dot_rows(const struct phy_matmul *product, size_t r, size_t rows, size_t n, size_t count)
{
    const struct phy_quant_format *format = phy_weight_format(product->type);
    const size_t row_blocks = (product->cols + format->elements - 1) / format->elements;
    double sum[ROWS][PHY_REF_SUMS] = {{0}};
    for (size_t k = 0; k < product->cols; k += PHY_REF_PART) {
        struct phy_ref_columns x;
        float values[PHY_REF_PART];
        const size_t left = product->cols - k, part = left < PHY_REF_PART ? left : PHY_REF_PART;
        const size_t first = k / format->elements, blocks = (part + format->elements - 1) / format->elements;
        phy_ref_turn(&x, product->x + n * product->cols + k, product->cols, count, part);
        for (size_t i = 0; i < rows; i++) {
            const uint8_t *w = (const uint8_t *)product->w + ((r + i) * row_blocks + first) * format->bytes;
            format->decode(w, blocks, values);
            phy_ref_add_products(sum[i], values, &x, part);
        }
    }
    for (size_t i = 0; i < rows; i++) {
        for (size_t j = 0; j < count; j++)
            product->y[(n + j) * product->y_stride + r + i] = (float)sum[i][j];
    }
}

void phy_block_matvec_ref(const struct phy_matmul *product, size_t row_begin, size_t row_end)
{
    for (size_t r = row_begin; r < row_end; r += ROWS) {
        size_t rows = row_end - r < ROWS ? row_end - r : ROWS;
        for (size_t n = 0; n < product->count; n += PHY_REF_SUMS) {
            size_t left = product->count - n;
            dot_rows(product, r, rows, n, left < PHY_REF_SUMS ? left : PHY_REF_SUMS);
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
