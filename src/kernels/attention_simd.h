/* SPDX-License-Identifier: Apache-2.0 */
/* Body of the SIMD forms of attention, included after vec_<form>.h. Scores below the largest by 87 or more count as
 * e^-87, which no sum can tell from 0. */
#include <string.h>

#include "kernels/vec_math.h"

INLINE float dot(const float *a, const float *b, size_t dim)
{
    vec sum = vec_zero();
    size_t d = 0;
    for (; d + LANES <= dim; d += LANES)
        sum = vec_fma(vec_load(a + d), vec_load(b + d), sum);
    float total = vec_sum(sum);
    for (; d < dim; d++)
        total += a[d] * b[d];
    return total;
}

/* scores[0..3] of four keys at a time: four sums hide the latency. */
INLINE void dot4(const float *q, const float *k, size_t dim, float *out)
{
    vec sum[4] = {vec_zero(), vec_zero(), vec_zero(), vec_zero()};
    size_t d = 0;
    for (; d + LANES <= dim; d += LANES) {
        vec qd = vec_load(q + d);
        UNROLL
        for (size_t j = 0; j < 4; j++)
            sum[j] = vec_fma(qd, vec_load(k + j * dim + d), sum[j]);
    }
    for (size_t j = 0; j < 4; j++) {
        float total = vec_sum(sum[j]);
        for (size_t e = d; e < dim; e++)
            total += q[e] * k[j * dim + e];
        out[j] = total;
    }
}

INLINE float softmax(float *scores, size_t positions, float scale, float largest)
{
    vec sum = vec_zero(), shift = vec_set1(-largest), scales = vec_set1(scale);
    size_t j = 0;
    for (; j + LANES <= positions; j += LANES) {
        vec p = vec_exp(vec_fma(vec_load(scores + j), scales, shift));
        vec_store(scores + j, p);
        sum = vec_add(sum, p);
    }
    float total = vec_sum(sum);
    if (j < positions) {
        float lanes[LANES] = {0};
        memcpy(lanes, scores + j, (positions - j) * sizeof *lanes);
        vec_store(lanes, vec_exp(vec_fma(vec_load(lanes), scales, shift)));
        for (size_t i = 0; j + i < positions; i++) {
            scores[j + i] = lanes[i];
            total += lanes[i];
        }
    }
    return total;
}

/* out[d0 .. d0 + 4 vectors) */
INLINE void weigh(const struct phy_attention *attention, size_t d0, size_t vecs, float inverse)
{
    const size_t dim = attention->head_dim;
    vec sum[4] = {vec_zero(), vec_zero(), vec_zero(), vec_zero()};
    for (size_t j = 0; j < attention->positions; j++) {
        vec p = vec_set1(attention->scores[j]);
        UNROLL
        for (size_t i = 0; i < vecs; i++)
            sum[i] = vec_fma(p, vec_load(attention->v + j * dim + d0 + i * LANES), sum[i]);
    }
    UNROLL
    for (size_t i = 0; i < vecs; i++)
        vec_store(attention->out + d0 + i * LANES, vec_mul(sum[i], vec_set1(inverse)));
}

void FORM(phy_attention)(const struct phy_attention *attention)
{
    const size_t dim = attention->head_dim, positions = attention->positions;
    float *scores = attention->scores;
    size_t j = 0;
    for (; j + 4 <= positions; j += 4)
        dot4(attention->q, attention->k + j * dim, dim, scores + j);
    for (; j < positions; j++)
        scores[j] = dot(attention->q, attention->k + j * dim, dim);
    float largest = scores[0];
    for (j = 1; j < positions; j++)
        largest = scores[j] > largest ? scores[j] : largest;
    float inverse = 1.0f / softmax(scores, positions, attention->scale, largest * attention->scale);
    size_t d = 0;
    for (; d + 4 * LANES <= dim; d += 4 * LANES)
        weigh(attention, d, 4, inverse);
    for (; d + LANES <= dim; d += LANES)
        weigh(attention, d, 1, inverse);
    for (; d < dim; d++) {
        float sum = 0;
        for (j = 0; j < positions; j++)
            sum += scores[j] * attention->v[j * dim + d];
        attention->out[d] = sum * inverse;
    }
}
