/* SPDX-License-Identifier: Apache-2.0 */
/* Attention of one query head over cached keys and values: the kernel contract.
 *
 *   s[j] = scale * sum_d q[d] k[j][d]      p = softmax(s)      out[d] = sum_j p[j] v[j][d]
 *
 * float32 throughout; the softmax subtracts the largest score. Against float64: |out - ref| <= 2e-5 * max |v|.
 * Bits of one form depend on nothing but its inputs. */
#ifndef PHY_KERNELS_ATTENTION_H
#define PHY_KERNELS_ATTENTION_H

#include <stddef.h>

#include "base/cpu_features.h"

struct phy_attention {
    const float *q;             /* (head_dim) */
    const float *k, *v;         /* (positions, head_dim), dense */
    size_t head_dim, positions; /* positions >= 1 */
    float scale;
    float *out;    /* (head_dim) */
    float *scores; /* scratch (positions) */
};

struct phy_attention_variant {
    const char *name;
    struct phy_cpu_features needs;
    void (*run)(const struct phy_attention *attention);
};

/* Slowest first, "ref" at index 0; ends with name NULL. */
extern const struct phy_attention_variant phy_attention_variants[];
const struct phy_attention_variant *phy_attention_variant_named(const char *name);

#endif
