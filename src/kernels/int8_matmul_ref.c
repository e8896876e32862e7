/* SPDX-License-Identifier: Apache-2.0 */
/* The products with rounded activations, slow and obvious: decode a block, add to one sum after another, in float64. */
#include <assert.h>
#include <math.h>
#include <string.h>

#include "kernels/int8_matmul_forms.h"
#include "kernels/ref_sums.h"

void phy_int8_round_row_ref(const float *x, struct phy_int8_rows *to, size_t n)
{
    int8_t *q = to->q + n * to->groups * PHY_INT8_GROUP;
    memset(q, 0, to->groups * PHY_INT8_GROUP);
    for (size_t g = 0; g < to->groups; g++) {
        const size_t begin = g * PHY_INT8_GROUP;
        const size_t end = to->cols - begin < PHY_INT8_GROUP ? to->cols : begin + PHY_INT8_GROUP;
        float peak = 0;
        for (size_t k = begin; k < end; k++)
            peak = fmaxf(peak, fabsf(x[k]));
        const bool tiny = peak < 0x1p-100f;
        const float inverse = tiny ? 0 : 127.0f / peak;
        to->scale[n * to->groups + g] = tiny ? 0 : peak / 127.0f;
        for (size_t k = begin; k < end; k++)
            q[k] = (int8_t)rintf(x[k] * inverse);
        const size_t at = n * to->groups + g;
        int32_t fours[PHY_INT8_GROUP / 4];
        phy_int8_fours(q + begin, fours);
        phy_int8_sum(fours, &to->sums[at]);
        if (to->fours)
            memcpy(to->fours + at * (PHY_INT8_GROUP / 4), fours, sizeof fours);
        if (to->paired)
            phy_int8_pair(q + begin, to->paired + at * PHY_INT8_GROUP);
    }
}

static_assert((int)PHY_REF_PART == (int)PHY_INT8_GROUP, "a scale of x for each part");

/* Columns k .. k + part - 1 of rows n .. n + count - 1, in their scale; rows that are not there are zeros. */
static void turn(const struct phy_int8_rows *x, size_t n, size_t count, size_t k, size_t part,
                 struct phy_ref_columns *to)
{
    for (size_t j = 0; j < PHY_REF_SUMS; j++) {
        const int8_t *q = x->q + (n + j) * x->groups * PHY_INT8_GROUP + k;
        const double scale = j < count ? (double)x->scale[(n + j) * x->groups + k / PHY_INT8_GROUP] : 0;
        for (size_t i = 0; i < part; i++)
            to->value[i][j] = j < count ? scale * q[i] : 0;
    }
}

/* Rows r .. r + rows - 1 of w, at most PHY_REF_ROWS, times rows n .. n + count - 1 of x, at most PHY_REF_SUMS. */
static void dot_rows(const struct phy_int8_matmul *product, size_t r, size_t rows, size_t n, size_t count)
{
    const size_t cols = product->x->cols;
    const struct phy_quant_format *format = phy_weight_format(product->type);
    double sum[PHY_REF_ROWS][PHY_REF_SUMS] = {{0}};
    for (size_t k = 0; k < cols; k += PHY_REF_PART) {
        struct phy_ref_columns x;
        const size_t part = cols - k < PHY_REF_PART ? cols - k : PHY_REF_PART;
        turn(product->x, n, count, k, part, &x);
        phy_ref_add_blocks(sum, format, product->w, cols, r, rows, k, part, &x);
    }
    phy_ref_store(sum, rows, count, product->y + n * product->y_stride + r, product->y_stride);
}

void phy_int8_matvec_ref(const struct phy_int8_matmul *product, size_t row_begin, size_t row_end)
{
    const size_t count = product->x->count;
    for (size_t r = row_begin; r < row_end; r += PHY_REF_ROWS) {
        size_t rows = row_end - r < PHY_REF_ROWS ? row_end - r : PHY_REF_ROWS;
        for (size_t n = 0; n < count; n += PHY_REF_SUMS)
            dot_rows(product, r, rows, n, count - n < PHY_REF_SUMS ? count - n : PHY_REF_SUMS);
    }
}

void phy_int8_matmul_ref(const struct phy_int8_matmul *product, size_t row_begin, size_t row_end, void *panel)
{
    (void)panel;
    phy_int8_matvec_ref(product, row_begin, row_end);
}
