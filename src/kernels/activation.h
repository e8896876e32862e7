/* SPDX-License-Identifier: Apache-2.0 */
/* Elementwise and row-wise float32 work of a forward pass: the kernel contract.
 *
 *   gate    gate[i] = act(gate[i]) * up[i]; act(x) = x / (1 + e^-x), or x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))).
 *           Against float64: off by at most the larger of 2e-6 |act| and 1e-7 max(1, |x|). "ref" keeps the first all
 *           along; the others lose what is below 1e-35, x < -86 of SiLU.
 *   log_sum ln(sum e^x[i]) within 2e-6 + 1e-7 |result|, and the lowest index of the largest x.
 *   kl      sum over i of e^(p[i]-p_log) ((p[i]-p_log) - (q[i]-q_log)), in nats, within 2e-6 of its float64 value
 *           relative to the sum of absolute terms.
 *   norm    x[i] += plus[i], if there is a plus; then RMSNorm, to[i] = x[i] / sqrt(mean x^2 + eps) * (offset + w[i])
 *           (B. Zhang, R. Sennrich, "Root Mean Square Layer Normalization", arXiv:1910.07467). Squares are added in
 *           float64, in eight sums: the same bits from every form.
 *   rotate  the pairs (i, i + dim/2) of a head by their angles, whose cosines and then sines are in cos_sin
 *           (J. Su et al., "RoFormer", arXiv:2104.09864): the same bits from every form.
 *
 * Nothing overlaps, but norm's `to` may be x. count >= 1, dim even. Inputs are finite. */
#ifndef PHY_KERNELS_ACTIVATION_H
#define PHY_KERNELS_ACTIVATION_H

#include <stddef.h>
#include <stdint.h>

#include "base/cpu_features.h"

enum phy_activation { PHY_ACT_SILU, PHY_ACT_GELU_TANH };

struct phy_norm {
    const float *w; /* (count) */
    size_t count;
    double eps;
    float offset;
};

struct phy_activation_variant {
    const char *name;
    struct phy_cpu_features needs;
    void (*gate)(enum phy_activation activation, float *gate, const float *up, size_t count);
    double (*log_sum)(const float *x, size_t count, uint32_t *top);
    double (*kl)(const float *p, double p_log, const float *q, double q_log, size_t count);
    void (*norm)(const struct phy_norm *norm, float *to, float *x, const float *plus);
    void (*rotate)(float *head, const float *cos_sin, size_t dim);
};

/* Slowest first, "ref" at index 0; ends with name NULL. */
extern const struct phy_activation_variant phy_activation_variants[];
/* NULL if there is none of that name. */
const struct phy_activation_variant *phy_activation_variant_named(const char *name);

#endif
