/* SPDX-License-Identifier: Apache-2.0 */
/* How far one output vector is from another, in float64. */
#ifndef PHY_AUDIT_METRICS_H
#define PHY_AUDIT_METRICS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct phy_metrics {
    double one_minus_cos;        /* 0..2 */
    double rel_l2, abs_l2;       /* |path - ref| / |ref|, |path - ref| */
    double max_diff;             /* largest |path - ref| of an element */
    size_t max_at;               /* its index */
    bool finite;                 /* every value of path is; else the others are worthless */
    size_t not_finite_at;        /* the first that is not */
    bool same_bits;              /* every element equals in value */
    bool zeros, reference_zeros; /* all of path, of ref, are zero */
};

/* ref is finite. ref = 0: cos is 1 when path = 0 too, else 0; rel_l2 is 0 when path = 0 too, else 1. */
void phy_metrics_of(struct phy_metrics *out, const float *path, const float *ref, size_t count);

/* Two distributions over the vocabulary. */
struct phy_driven_metrics {
    uint32_t top, reference_top;  /* likeliest tokens, the lowest id on a tie */
    double reference_probability; /* of reference_top, by the reference */
    double probability;           /* of reference_top, by the path */
    double kl_bits;               /* KL(reference || path) over the whole vocabulary */
    double rel_l2;                /* of the logits */
    bool finite;
};
void phy_driven_metrics_of(struct phy_driven_metrics *out, const float *path, const float *ref, size_t vocab);

/* ln(sum e^x). */
double phy_log_sum(const float *x, size_t count);

#endif
