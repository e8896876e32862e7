/* SPDX-License-Identifier: Apache-2.0 */
/* Elementwise and row-wise float32 work of a forward pass: the kernel contract.
 *
 *   gate    gate[i] = act(gate[i]) * up[i]; act(x) = x / (1 + e^-x), or x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))).
 *           Against float64: relative error of act <= 2e-6, absolute <= 1e-7 max(1, |x|).
 *   log_sum ln(sum e^x[i]) within 2e-6 + 1e-7 |result|, and the lowest index of the largest x.
 *   kl      sum over i of e^(p[i]-p_log) ((p[i]-p_log) - (q[i]-q_log)), in nats, within 2e-6 of its float64 value
 * relative to the sum of absolute terms.
 *
 * Nothing overlaps. count >= 1. Inputs are finite. */
#ifndef PHY_KERNELS_ACTIVATION_H
#define PHY_KERNELS_ACTIVATION_H

#include <stddef.h>
#include <stdint.h>

#include "base/cpu_features.h"

enum phy_activation { PHY_ACT_SILU, PHY_ACT_GELU_TANH };

struct phy_activation_variant {
    const char *name;
    struct phy_cpu_features needs;
    void (*gate)(enum phy_activation activation, float *gate, const float *up, size_t count);
    double (*log_sum)(const float *x, size_t count, uint32_t *top);
    double (*kl)(const float *p, double p_log, const float *q, double q_log, size_t count);
};

/* Slowest first, "ref" at index 0; ends with name NULL. */
extern const struct phy_activation_variant phy_activation_variants[];
/* NULL if there is none of that name. */
const struct phy_activation_variant *phy_activation_variant_named(const char *name);

#endif
