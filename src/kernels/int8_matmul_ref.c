/* SPDX-License-Identifier: Apache-2.0 */
/* The products with rounded activations, slow and obvious: decode a block, add to one sum after another, in float64. */
#include <math.h>
#include <string.h>

#include "kernels/int8_matmul_forms.h"

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

/* Rows n .. n + count - 1 of x, at most PHY_MATVEC_MAX_COUNT: each block is decoded once for them. */
static void dot_row(const struct phy_int8_matmul *product, size_t r, size_t n, size_t count)
{
    const struct phy_int8_rows *x = product->x;
    const struct phy_quant_format *format = phy_weight_format(product->type);
    const size_t row_blocks = (x->cols + format->elements - 1) / format->elements;
    const uint8_t *w = (const uint8_t *)product->w + r * row_blocks * format->bytes;
    double sum[PHY_MATVEC_MAX_COUNT] = {0}, rows[PHY_MATVEC_MAX_COUNT][PHY_INT8_GROUP] = {{0}};
    for (size_t k = 0; k < x->cols; k += format->elements, w += format->bytes) {
        float values[PHY_INT8_GROUP];
        size_t left = x->cols - k, elements = left < format->elements ? left : format->elements;
        format->decode(w, 1, values);
        for (size_t j = 0; j < count; j++) {
            const int8_t *q = x->q + (n + j) * x->groups * PHY_INT8_GROUP + k;
            const double scale = (double)x->scale[(n + j) * x->groups + k / PHY_INT8_GROUP];
            for (size_t i = 0; i < elements; i++)
                rows[j][i] = scale * q[i];
        }
        /* An addition waits for the one before it, but not for those of other rows. */
        for (size_t i = 0; i < elements; i++) {
            for (size_t j = 0; j < PHY_MATVEC_MAX_COUNT; j++)
                sum[j] += (double)values[i] * rows[j][i];
        }
    }
    for (size_t j = 0; j < count; j++)
        product->y[(n + j) * product->y_stride + r] = (float)sum[j];
}

void phy_int8_matvec_ref(const struct phy_int8_matmul *product, size_t row_begin, size_t row_end)
{
    for (size_t r = row_begin; r < row_end; r++) {
        for (size_t n = 0; n < product->x->count; n += PHY_MATVEC_MAX_COUNT) {
            size_t left = product->x->count - n;
            dot_row(product, r, n, left < PHY_MATVEC_MAX_COUNT ? left : PHY_MATVEC_MAX_COUNT);
        }
    }
}

void phy_int8_matmul_ref(const struct phy_int8_matmul *product, size_t row_begin, size_t row_end, void *panel)
{
    (void)panel;
    phy_int8_matvec_ref(product, row_begin, row_end);
}
