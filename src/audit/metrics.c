/* SPDX-License-Identifier: Apache-2.0 */
#include "audit/metrics.h"

#include <math.h>

/* |a/|a| - b/|b||^2 / 2 is 1 - cos without the cancellation. */
static double one_minus_cos(const float *a, double a_norm, const float *b, double b_norm, size_t count)
{
    double sum = 0;
    for (size_t i = 0; i < count; i++) {
        double d = (double)a[i] / a_norm - (double)b[i] / b_norm;
        sum += d * d;
    }
    return sum / 2;
}

void phy_metrics_of(struct phy_metrics *out, const float *path, const float *ref, size_t count)
{
    double path_square = 0, ref_square = 0, square = 0;
    *out = (struct phy_metrics){.finite = true, .same_bits = true};
    for (size_t i = 0; i < count; i++) {
        double a = (double)path[i], b = (double)ref[i], difference = fabs(a - b);
        if (!isfinite(a)) {
            *out = (struct phy_metrics){.not_finite_at = i, .one_minus_cos = 1, .rel_l2 = 1};
            return;
        }
        path_square += a * a;
        ref_square += b * b;
        square += difference * difference;
        out->same_bits &= path[i] == ref[i];
        if (difference > out->max_diff) {
            out->max_diff = difference;
            out->max_at = i;
        }
    }
    out->abs_l2 = sqrt(square);
    out->zeros = path_square == 0;
    out->reference_zeros = ref_square == 0;
    if (out->zeros || out->reference_zeros) {
        bool both = out->zeros && out->reference_zeros;
        out->one_minus_cos = both ? 0 : 1;
        out->rel_l2 = both ? 0 : 1;
        return;
    }
    out->rel_l2 = out->abs_l2 / sqrt(ref_square);
    out->one_minus_cos = one_minus_cos(path, sqrt(path_square), ref, sqrt(ref_square), count);
}

static uint32_t largest(const float *x, size_t count)
{
    size_t at = 0;
    for (size_t i = 1; i < count; i++) {
        if (x[i] > x[at])
            at = i;
    }
    return (uint32_t)at;
}

double phy_log_sum(const float *x, size_t count)
{
    double high = (double)x[largest(x, count)], sum = 0;
    for (size_t i = 0; i < count; i++)
        sum += exp((double)x[i] - high);
    return high + log(sum);
}

void phy_driven_metrics_of(struct phy_driven_metrics *out, const float *path, const float *ref, size_t vocab)
{
    struct phy_metrics distance;
    phy_metrics_of(&distance, path, ref, vocab);
    *out = (struct phy_driven_metrics){.finite = distance.finite, .rel_l2 = distance.rel_l2};
    out->reference_top = largest(ref, vocab);
    double ref_log = phy_log_sum(ref, vocab);
    out->reference_probability = exp((double)ref[out->reference_top] - ref_log);
    if (!distance.finite)
        return;
    double path_log = phy_log_sum(path, vocab), kl = 0;
    out->top = largest(path, vocab);
    out->probability = exp((double)path[out->reference_top] - path_log);
    for (size_t i = 0; i < vocab; i++) {
        double p = (double)ref[i] - ref_log, q = (double)path[i] - path_log;
        kl += exp(p) * (p - q);
    }
    /* Rounding leaves a sum of about 1e-17 on either side of zero. */
    out->kl_bits = fmax(kl, 0) / log(2);
}
