/* SPDX-License-Identifier: Apache-2.0 */
/* What the forms of the ranking share. */
#ifndef PHY_KERNELS_RANK_ROWS_FORMS_H
#define PHY_KERNELS_RANK_ROWS_FORMS_H

#include "kernels/flow_tile_forms.h"
#include "kernels/rank_rows.h"

void phy_rank_rows_ref(const struct phy_rank_rows *rows, const struct phy_rank_params *params);
void phy_rank_rows_avx2(const struct phy_rank_rows *rows, const struct phy_rank_params *params);
void phy_rank_rows_avx512(const struct phy_rank_rows *rows, const struct phy_rank_params *params);

/* A mask, not a choice: of a choice the compiler makes a branch where a vector was wanted. */
static inline uint32_t phy_rank_flushed(uint32_t bits)
{
    return bits & (0u - (uint32_t)(bits >= 0x00800000u));
}

/* One magnitude, normal and below 2^64, into its bin. */
static inline void phy_rank_add(uint64_t *bins, size_t stride, uint32_t bits)
{
    uint32_t exponent = bits >> 23;
    bins[(exponent >> 4) * stride] += (uint64_t)(0x00800000u | (bits & 0x007FFFFFu)) << (exponent & 15);
}

static inline void phy_rank_fold(uint64_t *bins, size_t stride)
{
    for (size_t k = 0; k + 1 < PHY_RANK_BINS; k++) {
        bins[(k + 1) * stride] += bins[k * stride] >> 16;
        bins[k * stride] &= 0xFFFF;
    }
}

/* recip of a folded sum, whose leading 24 bits count; 0 for none. */
static inline float phy_rank_inverse(const uint64_t *bins, size_t stride)
{
    int top = PHY_RANK_BINS - 1;
    while (top >= 0 && bins[(size_t)top * stride] == 0)
        top--;
    if (top < 0)
        return 0.0f;
    /* Three bins are 33 to 48 bits, in units of 2^(16 (top - 2) - 150): fewer than 2^40 magnitudes below 2^64 keep the
     * highest bin, which is never carried out of, below 2^16 too. */
    uint64_t leading = 0;
    for (int k = top; k > top - 3; k--)
        leading = leading << 16 | (k >= 0 ? bins[(size_t)k * stride] : 0);
    int shift = 40 - __builtin_clzll(leading);
    int exponent = 16 * (top - 2) + shift; /* of a float m * 2^(exponent - 150) */
    uint32_t mantissa = (uint32_t)(leading >> shift);
    return phy_flow_recip(phy_float_of_bits((uint32_t)exponent << 23 | (mantissa & 0x007FFFFFu)));
}

/* Of n columns in a group, how many go. */
static inline uint32_t phy_rank_group_kill(const struct phy_rank_params *params, size_t n)
{
    uint32_t count = (uint32_t)n;
    return count - (count * params->keep + params->group - 1) / params->group;
}

#endif
