/* SPDX-License-Identifier: Apache-2.0 */
/* The products of a bitmap, slow and obvious: weight by weight, in float64. */
#include "kernels/bitmap_matmul_forms.h"

void phy_bitmap_matvec_ref(const struct phy_bitmap_product *product, size_t row_begin, size_t row_end)
{
    const struct phy_bitmap *w = &product->w;
    for (size_t r = row_begin; r < row_end; r++) {
        for (size_t n = 0; n < product->count; n++) {
            const uint8_t *bits = phy_bitmap_bits(w, r), *values = phy_bitmap_values(w, r);
            double sum = 0;
            for (size_t c = 0; c < w->cols; c++) {
                float weight = 0;
                if (bits[c / 8] >> c % 8 & 1) {
                    phy_weight_decode_row(w->value, values, 1, &weight);
                    values += phy_weight_float_bytes(w->value);
                }
                sum += (double)weight * (double)product->x[n * w->cols + c];
            }
            product->y[n * product->y_stride + r - row_begin] = (float)sum;
        }
    }
}

void phy_bitmap_decode_ref(const struct phy_bitmap *w, size_t row_begin, size_t row_end, float *out)
{
    for (size_t r = row_begin; r < row_end; r++)
        phy_bitmap_decode_row(w, r, out + (r - row_begin) * w->cols);
}
