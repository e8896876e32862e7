/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PHY_KERNELS_ACTIVATION_FORMS_H
#define PHY_KERNELS_ACTIVATION_FORMS_H

#include "kernels/activation.h"

enum { PHY_NORM_SUMS = 8 }; /* element i goes to sum i % 8, the last count % 8 elements to one before them */

#define PHY_ACTIVATION_FORM(form)                                                                                      \
    void phy_gate_##form(enum phy_activation activation, float *gate, const float *up, size_t count);                  \
    double phy_log_sum_##form(const float *x, size_t count, uint32_t *top);                                            \
    double phy_kl_##form(const float *p, double p_log, const float *q, double q_log, size_t count);                    \
    void phy_norm_##form(const struct phy_norm *norm, float *to, float *x, const float *plus);                         \
    void phy_rotate_##form(float *head, const float *cos_sin, size_t dim);
PHY_ACTIVATION_FORM(ref)
PHY_ACTIVATION_FORM(avx2)
PHY_ACTIVATION_FORM(avx512)

#endif
