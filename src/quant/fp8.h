/* SPDX-License-Identifier: Apache-2.0 */
/* The small floats of the OCP formats: e4m3 (no infinity, NaN 0x7F and 0xFF) and e2m1. Exact. */
#ifndef PHY_QUANT_FP8_H
#define PHY_QUANT_FP8_H

#include "quant/small_float.h"

/* s.eeee.mmm, bias 7; subnormals are multiples of 2^-9. */
static inline float phy_e4m3_widen(uint8_t code)
{
    /* As if the exponent field were never zero, subnormals are 2^-7 (1 + m/8) where m 2^-9 is meant: twice that, less
     * 2^-6. No branch: codes are as good as random. */
    const uint32_t sign = (uint32_t)(code & 0x80) << 24, magnitude = code & 0x7Fu;
    const float normal = phy_float_of_bits((magnitude << 20) + (120u << 23)), subnormal = normal * 2 - 0x1p-6f;
    const uint32_t bits = magnitude < 8 ? phy_bits_of_float(subnormal) : phy_bits_of_float(normal);
    return phy_float_of_bits((magnitude == 0x7F ? 0x7FC00000u : bits) | sign);
}

/* To nearest, ties to the even code; beyond the largest, infinity too, to the largest; a NaN stays one. */
static inline uint8_t phy_e4m3_round(float value)
{
    const uint32_t bits = phy_bits_of_float(value), magnitude = bits & 0x7FFFFFFF, sign = bits >> 24 & 0x80;
    if (magnitude > 0x7F800000)
        return (uint8_t)(sign | 0x7F);
    if (magnitude < 0x3C800000) {
        /* One unit of 2^14 is 2^-9, the subnormals' step: the sum rounds as they do. */
        const uint32_t sum = phy_bits_of_float(phy_float_of_bits(magnitude) + 0x1p14f);
        return (uint8_t)(sign | (sum - 0x46800000));
    }
    const uint32_t code = (magnitude + 0x7FFFF + (magnitude >> 20 & 1)) >> 20;
    return (uint8_t)(sign | (code < 960 + 0x7E ? code - 960 : 0x7E)); /* 960 = (127 - 7) * 8 */
}

/* Of its four bits: s.ee.m, bias 1. */
static const float phy_e2m1_values[16] = {0, 0.5f, 1, 1.5f, 2, 3, 4, 6, -0.0f, -0.5f, -1, -1.5f, -2, -3, -4, -6};

#endif
