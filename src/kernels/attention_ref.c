/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>

#include "kernels/attention_forms.h"

void phy_attention_ref(const struct phy_attention *attention)
{
    const size_t dim = attention->head_dim, positions = attention->positions;
    float *scores = attention->scores;
    float largest = -INFINITY;
    for (size_t j = 0; j < positions; j++) {
        double sum = 0;
        for (size_t d = 0; d < dim; d++)
            sum += (double)attention->q[d] * (double)attention->k[j * dim + d];
        scores[j] = (float)(sum * (double)attention->scale);
        largest = scores[j] > largest ? scores[j] : largest;
    }
    double total = 0;
    for (size_t j = 0; j < positions; j++) {
        scores[j] = (float)exp((double)(scores[j] - largest));
        total += (double)scores[j];
    }
    for (size_t d = 0; d < dim; d++) {
        double sum = 0;
        for (size_t j = 0; j < positions; j++)
            sum += (double)scores[j] * (double)attention->v[j * dim + d];
        attention->out[d] = (float)(sum / total);
    }
}

void phy_attention_rows_ref(const struct phy_attention_rows *attention)
{
    const struct phy_attention_rows *a = attention;
    for (size_t r = 0; r < a->rows; r++) {
        size_t end = a->first + r + 1, begin = end > a->window ? end - a->window : 0;
        for (size_t h = 0; h < a->heads; h++) {
            size_t at = r * a->row_stride + h * a->head_dim;
            phy_attention_ref(&(struct phy_attention){.q = a->q + at,
                                                      .k = a->k + begin * a->head_dim,
                                                      .v = a->v + begin * a->head_dim,
                                                      .head_dim = a->head_dim,
                                                      .positions = end - begin,
                                                      .scale = a->scale,
                                                      .out = a->out + at,
                                                      .scores = a->scratch});
        }
    }
}
