/* SPDX-License-Identifier: Apache-2.0 */
/* 16 weights of a bitmap in AVX-512: values are widened where they lie, then spread to the lanes whose bits are set. */
#ifndef PHY_KERNELS_BITMAP_EXPAND_AVX512_H
#define PHY_KERNELS_BITMAP_EXPAND_AVX512_H

#include "kernels/vec_avx512.h"
#include "quant/weight_type.h"

enum { SUMS = 4 }; /* chains of additions for each row of x: as many as vectors of a word */

static inline __attribute__((always_inline)) vec expand_16(enum phy_weight_type type, uint64_t bits,
                                                           const uint8_t *values)
{
    const __mmask16 mask = (__mmask16)bits;
    const vec packed = type == PHY_WEIGHT_BF16  ? vec_widen_bf16((const uint16_t *)(const void *)values)
                       : type == PHY_WEIGHT_F16 ? vec_widen_f16((const uint16_t *)(const void *)values)
                                                : vec_load((const float *)(const void *)values);
    return _mm512_maskz_expand_ps(mask, packed);
}

/* Values of the word in front of its bit v. */
static inline __attribute__((always_inline)) size_t values_before(uint64_t word, unsigned v)
{
    return v ? (size_t)__builtin_popcountll(word << (64 - v)) : 0;
}

#endif
