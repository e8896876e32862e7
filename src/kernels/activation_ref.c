/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>

#include "kernels/activation_forms.h"

void phy_gate_ref(enum phy_activation activation, float *gate, const float *up, size_t count)
{
    const double sqrt_8_over_pi = 1.59576912160573071176;
    for (size_t i = 0; i < count; i++) {
        double x = (double)gate[i], act;
        if (activation == PHY_ACT_SILU)
            act = x / (1.0 + exp(-x));
        else /* 1 + tanh y = 2 / (1 + e^-2y), which does not cancel below zero */
            act = x / (1.0 + exp(-sqrt_8_over_pi * (x + 0.044715 * x * x * x)));
        gate[i] = (float)(act * (double)up[i]);
    }
}

double phy_log_sum_ref(const float *x, size_t count, uint32_t *top)
{
    size_t best = 0;
    double sum = 0;
    for (size_t i = 1; i < count; i++) {
        if (x[i] > x[best])
            best = i;
    }
    for (size_t i = 0; i < count; i++)
        sum += exp((double)x[i] - (double)x[best]);
    *top = (uint32_t)best;
    return (double)x[best] + log(sum);
}

double phy_kl_ref(const float *p, double p_log, const float *q, double q_log, size_t count)
{
    double sum = 0;
    for (size_t i = 0; i < count; i++) {
        double p_i = (double)p[i] - p_log, q_i = (double)q[i] - q_log;
        sum += exp(p_i) * (p_i - q_i);
    }
    return sum;
}

void phy_norm_ref(const struct phy_norm *norm, float *to, float *x, const float *plus)
{
    const size_t count = norm->count, whole = count - count % PHY_NORM_SUMS;
    double part[PHY_NORM_SUMS] = {0}, sum = 0;
    for (size_t i = 0; plus && i < count; i++)
        x[i] += plus[i];
    for (size_t i = 0; i < whole; i++)
        part[i % PHY_NORM_SUMS] += (double)x[i] * (double)x[i];
    for (size_t i = whole; i < count; i++)
        sum += (double)x[i] * (double)x[i];
    for (size_t p = 0; p < PHY_NORM_SUMS; p++)
        sum += part[p];
    const float inverse = (float)(1.0 / sqrt(sum / (double)count + norm->eps));
    for (size_t i = 0; i < count; i++)
        to[i] = x[i] * inverse * (norm->offset + norm->w[i]);
}

void phy_rotate_ref(float *head, const float *cos_sin, size_t dim)
{
    const size_t half = dim / 2;
    for (size_t i = 0; i < half; i++) {
        const float a = head[i], b = head[i + half], c = cos_sin[i], s = cos_sin[half + i];
        head[i] = a * c - b * s;
        head[i + half] = b * c + a * s;
    }
}
