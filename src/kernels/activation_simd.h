/* SPDX-License-Identifier: Apache-2.0 */
/* Body of the SIMD forms of activation.h, included after vec_<form>.h. */
#include <math.h>
#include <string.h>

#include "kernels/vec_math.h"

/* e^-2y = high + low with 2y = 2 sqrt(2/pi) (x + 0.044715 x^3), which is taken in pairs of floats, as e^2y's relative
 * error is 2y's absolute one. Beyond 12 it is as good as 0 or infinity. */
INLINE void gelu_exp(vec x, vec *high, vec *low)
{
    const float scale = 1.5957691f, scale_rest = -4.534068e-8f, cubic = 0.044715f, cubic_rest = 1.5461445e-9f;
    x = vec_min(vec_max(x, vec_set1(-12.0f)), vec_set1(12.0f));
    const vec square = vec_mul(x, x), square_rest = vec_fma(x, x, vec_sub(vec_zero(), square));
    const vec factor = vec_fma(square, vec_set1(cubic), vec_set1(1.0f));
    vec factor_rest = vec_fma(square, vec_set1(cubic), vec_sub(vec_set1(1.0f), factor));
    factor_rest = vec_fma(square_rest, vec_set1(cubic), vec_fma(square, vec_set1(cubic_rest), factor_rest));
    const vec scaled = vec_mul(x, vec_set1(-scale));
    const vec scaled_rest =
        vec_fma(x, vec_set1(-scale_rest), vec_fma(x, vec_set1(-scale), vec_sub(vec_zero(), scaled)));
    const vec exponent = vec_mul(scaled, factor);
    vec rest = vec_fma(scaled, factor, vec_sub(vec_zero(), exponent));
    rest = vec_fma(scaled, factor_rest, vec_fma(scaled_rest, factor, rest));
    vec_exp_pair(exponent, high, low);
    *low = vec_fma(*high, rest, *low);
}

/* act(x) u. SiLU(x) = x / (1 + e^-x), and tanh-GELU is x / (1 + e^-2y) with y = sqrt(2/pi)(x + 0.044715 x^3), because
 * (1 + tanh y) / 2 = 1 / (1 + e^-2y). Denominator and quotient are pairs of floats: one rounding is left, of the
 * result.
 */
INLINE vec gated(enum phy_activation activation, vec x, vec u)
{
    const vec one = vec_set1(1.0f);
    vec high, low;
    if (activation == PHY_ACT_GELU_TANH)
        gelu_exp(x, &high, &low);
    else
        vec_exp_pair(vec_sub(vec_zero(), x), &high, &low);
    const vec d = vec_add(one, high), of_high = vec_sub(d, one);
    const vec rest = vec_add(vec_add(vec_sub(one, vec_sub(d, of_high)), vec_sub(high, of_high)), low);
    const vec inverse = vec_div(one, d), minus = vec_mul(x, vec_sub(vec_zero(), inverse));
    const vec error = vec_fma(minus, rest, vec_fma(minus, d, x)); /* of the quotient -minus, times d */
    return vec_fma(vec_sub(vec_zero(), minus), u, vec_mul(vec_mul(error, inverse), u));
}

INLINE void gate_typed(enum phy_activation activation, float *gate, const float *up, size_t count)
{
    size_t i = 0;
    for (; i + LANES <= count; i += LANES)
        vec_store(gate + i, gated(activation, vec_load(gate + i), vec_load(up + i)));
    if (i < count) {
        float g[LANES] = {0}, u[LANES] = {0};
        memcpy(g, gate + i, (count - i) * sizeof *g);
        memcpy(u, up + i, (count - i) * sizeof *u);
        vec_store(g, gated(activation, vec_load(g), vec_load(u)));
        memcpy(gate + i, g, (count - i) * sizeof *g);
    }
}

void FORM(phy_gate)(enum phy_activation activation, float *gate, const float *up, size_t count)
{
    if (activation == PHY_ACT_SILU)
        gate_typed(PHY_ACT_SILU, gate, up, count);
    else
        gate_typed(PHY_ACT_GELU_TANH, gate, up, count);
}

/* Elements added in float32 before the sum goes on in float64. */
enum { SUM_BLOCK = 64 * LANES };

double FORM(phy_log_sum)(const float *x, size_t count, uint32_t *top)
{
    float largest = x[0];
    size_t i = 0;
    if (count >= LANES) {
        vec most = vec_load(x);
        for (i = LANES; i + LANES <= count; i += LANES)
            most = vec_max(most, vec_load(x + i));
        float lanes[LANES];
        vec_store(lanes, most);
        for (size_t l = 0; l < LANES; l++)
            largest = lanes[l] > largest ? lanes[l] : largest;
    }
    for (; i < count; i++)
        largest = x[i] > largest ? x[i] : largest;
    size_t best = 0;
    while (best + 1 < count && x[best] != largest)
        best++;
    *top = (uint32_t)best;

    double sum = 0;
    vec shift = vec_set1(largest);
    size_t whole = count - count % LANES;
    for (i = 0; i < whole;) {
        size_t end = i + SUM_BLOCK < whole ? i + SUM_BLOCK : whole;
        vec part = vec_zero();
        for (; i < end; i += LANES)
            part = vec_add(part, vec_exp(vec_sub(vec_load(x + i), shift)));
        sum += (double)vec_sum(part);
    }
    for (; i < count; i++)
        sum += exp((double)x[i] - (double)largest);
    return (double)largest + log(sum);
}

double FORM(phy_kl)(const float *p, double p_log, const float *q, double q_log, size_t count)
{
    double sum = 0;
    /* Both constants in two parts: where p is nearly 1 the log ratio is a small difference of large numbers. */
    const float p_high = (float)p_log, difference_high = (float)(q_log - p_log);
    const vec shift = vec_set1(p_high), shift_rest = vec_set1((float)(p_log - (double)p_high)),
              difference = vec_set1(difference_high),
              difference_rest = vec_set1((float)(q_log - p_log - (double)difference_high));
    size_t whole = count - count % LANES, i = 0;
    while (i < whole) {
        size_t end = i + SUM_BLOCK < whole ? i + SUM_BLOCK : whole;
        vec part = vec_zero();
        for (; i < end; i += LANES) {
            vec p_i = vec_load(p + i);
            vec log_p = vec_sub(vec_sub(p_i, shift), shift_rest);
            vec log_ratio = vec_add(vec_add(vec_sub(p_i, vec_load(q + i)), difference), difference_rest);
            part = vec_fma(vec_exp(log_p), log_ratio, part);
        }
        sum += (double)vec_sum(part);
    }
    for (; i < count; i++)
        sum += exp((double)p[i] - p_log) * ((double)p[i] - (double)q[i] + (q_log - p_log));
    return sum;
}

void FORM(phy_norm)(const struct phy_norm *norm, float *to, float *x, const float *plus)
{
    const size_t count = norm->count;
    double part[PHY_NORM_SUMS], sum = 0;
    vec_squares squares = vec_no_squares();
    size_t i = 0;
    if (plus) {
        for (; i + LANES <= count; i += LANES)
            vec_store(x + i, vec_add(vec_load(x + i), vec_load(plus + i)));
        for (; i < count; i++)
            x[i] += plus[i];
    }
    for (i = 0; i + PHY_NORM_SUMS <= count; i += PHY_NORM_SUMS)
        squares = vec_add_squares(squares, x + i);
    for (; i < count; i++)
        sum += (double)x[i] * (double)x[i];
    vec_store_squares(part, squares);
    for (size_t p = 0; p < PHY_NORM_SUMS; p++)
        sum += part[p];
    const float inverse = (float)(1.0 / sqrt(sum / (double)count + norm->eps));
    const vec inverses = vec_set1(inverse), offset = vec_set1(norm->offset);
    for (i = 0; i + LANES <= count; i += LANES)
        vec_store(to + i, vec_mul(vec_mul(vec_load(x + i), inverses), vec_add(offset, vec_load(norm->w + i))));
    for (; i < count; i++)
        to[i] = x[i] * inverse * (norm->offset + norm->w[i]);
}

void FORM(phy_rotate)(float *head, const float *cos_sin, size_t dim)
{
    const size_t half = dim / 2;
    size_t i = 0;
    for (; i + LANES <= half; i += LANES) {
        const vec a = vec_load(head + i), b = vec_load(head + half + i);
        const vec c = vec_load(cos_sin + i), s = vec_load(cos_sin + half + i);
        vec_store(head + i, vec_sub(vec_mul(a, c), vec_mul(b, s)));
        vec_store(head + half + i, vec_add(vec_mul(b, c), vec_mul(a, s)));
    }
    for (; i < half; i++) {
        const float a = head[i], b = head[half + i], c = cos_sin[i], s = cos_sin[half + i];
        head[i] = a * c - b * s;
        head[half + i] = b * c + a * s;
    }
}
