/* SPDX-License-Identifier: Apache-2.0 */
/* The products of blocks, slow and obvious: decode a block, add to one sum after another, in float64. */
#include <assert.h>

#include "kernels/block_matmul_forms.h"
#include "kernels/ref_sums.h"

static_assert((int)PHY_REF_SUMS == (int)PHY_MATVEC_MAX_COUNT, "rows of x at a time");

/* Rows r .. r + rows - 1 of w, at most PHY_REF_ROWS, times rows n .. n + count - 1 of x, at most PHY_REF_SUMS. */
static void dot_rows(const struct phy_matmul *product, size_t r, size_t rows, size_t n, size_t count)
{
    const struct phy_quant_format *format = phy_weight_format(product->type);
    double sum[PHY_REF_ROWS][PHY_REF_SUMS] = {{0}};
    for (size_t k = 0; k < product->cols; k += PHY_REF_PART) {
        struct phy_ref_columns x;
        const size_t left = product->cols - k, part = left < PHY_REF_PART ? left : PHY_REF_PART;
        phy_ref_turn(&x, product->x + n * product->cols + k, product->cols, count, part);
        phy_ref_add_blocks(sum, format, product->w, product->cols, r, rows, k, part, &x);
    }
    phy_ref_store(sum, rows, count, product->y + n * product->y_stride + r, product->y_stride);
}

void phy_block_matvec_ref(const struct phy_matmul *product, size_t row_begin, size_t row_end)
{
    for (size_t r = row_begin; r < row_end; r += PHY_REF_ROWS) {
        size_t rows = row_end - r < PHY_REF_ROWS ? row_end - r : PHY_REF_ROWS;
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
