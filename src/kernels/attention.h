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

/* The same for some neighbouring positions and all query heads that share these keys: the keys are read once for all.
 * Row r stands at position first + r and sees the keys up to its own, at most the last `window` of them. */
struct phy_attention_rows {
    const float *q; /* row r's head h at q + r * row_stride + h * head_dim */
    float *out;     /* laid out as q */
    size_t row_stride;
    size_t rows, heads; /* rows * heads <= PHY_ATTENTION_MAX_QUERIES */
    const float *k, *v; /* (first + rows, head_dim), dense */
    size_t head_dim;
    size_t first, window; /* window SIZE_MAX: all */
    float scale;
    float *scratch; /* phy_attention_scratch floats */
};

enum { PHY_ATTENTION_MAX_QUERIES = 96 };
/* Keys that are taken together. Their boundaries are multiples in the sequence, so that the bits of a row do not depend
 * on the rows beside it. */
enum { PHY_ATTENTION_KEYS = 64 };

/* Floats of scratch for rows that see at most `positions` keys: the ref form keeps one query's scores, the others
 * turned keys, all queries' scores of PHY_ATTENTION_KEYS keys, and two sums for each query. */
static inline size_t phy_attention_scratch(size_t head_dim, size_t positions)
{
    size_t blocked = (head_dim + PHY_ATTENTION_MAX_QUERIES) * PHY_ATTENTION_KEYS + 2 * PHY_ATTENTION_MAX_QUERIES;
    return positions > blocked ? positions : blocked;
}

struct phy_attention_variant {
    const char *name;
    struct phy_cpu_features needs;
    void (*run)(const struct phy_attention *attention);
    void (*run_rows)(const struct phy_attention_rows *attention);
};

/* Slowest first, "ref" at index 0; ends with name NULL. */
extern const struct phy_attention_variant phy_attention_variants[];
const struct phy_attention_variant *phy_attention_variant_named(const char *name);

#endif
