/* SPDX-License-Identifier: Apache-2.0 */
/* f16 and bf16, by integer operations: exact for subnormals, whatever the processor's flush mode. */
#ifndef PHY_QUANT_SMALL_FLOAT_H
#define PHY_QUANT_SMALL_FLOAT_H

#include <stdint.h>
#include <string.h>

#include "base/checked_math.h"

static inline float phy_float_of_bits(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static inline uint32_t phy_bits_of_float(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

/* binary16 to binary32, exact: s.eeeee.mmmmmmmmmm. A NaN keeps its bits and is made quiet, as by a processor's own
 * conversion. Without a branch, so that loops of it become vectors. */
static inline float phy_f16_widen(uint16_t half)
{
    const uint32_t sign = (uint32_t)(half & 0x8000) << 16, magnitude = half & 0x7FFFu;
    /* Rebias the exponent from 15 to 127; an infinity's or NaN's from 31 to 255. */
    const uint32_t normal = (magnitude << 13) + (112u << 23) + (magnitude >= 0x7C00 ? 112u << 23 : 0);
    /* mantissa * 2^-24: normal, or zero. */
    const uint32_t subnormal = phy_bits_of_float((float)(int32_t)magnitude * 0x1p-24f);
    const uint32_t quiet = magnitude > 0x7C00 ? 1u << 22 : 0;
    return phy_float_of_bits((magnitude < 0x400 ? subnormal : normal) | quiet | sign);
}

static inline float phy_f16_load(const uint8_t *at)
{
    return phy_f16_widen(phy_load_u16(at));
}

static inline float phy_bf16_widen(uint16_t value)
{
    return phy_float_of_bits((uint32_t)value << 16);
}

/* To nearest, ties to even; beyond the largest to infinity; a NaN is kept and made quiet. */
static inline uint16_t phy_bf16_round(float value)
{
    uint32_t bits = phy_bits_of_float(value);
    uint32_t rounded = (bits + 0x7FFF + (bits >> 16 & 1)) >> 16;
    uint32_t quiet = bits >> 16 | 0x40;
    return (uint16_t)((bits & 0x7FFFFFFF) > 0x7F800000 ? quiet : rounded);
}

/* To nearest, ties to even, subnormals included; from 65520 on, infinity; a NaN stays one. */
static inline uint16_t phy_f16_round(float value)
{
    const uint32_t bits = phy_bits_of_float(value), magnitude = bits & 0x7FFFFFFF;
    const uint16_t sign = (uint16_t)(bits >> 16 & 0x8000);
    if (magnitude > 0x7F800000)
        return sign | 0x7E00;
    if (magnitude >= 0x477FF000)
        return sign | 0x7C00;
    if (magnitude < 0x38800000) {
        /* One unit of 0.5 is 2^-24, the f16 subnormals' step: the sum rounds as they do. */
        const uint32_t sum = phy_bits_of_float(phy_float_of_bits(magnitude) + 0.5f);
        return (uint16_t)(sign | (sum - 0x3F000000));
    }
    return (uint16_t)(sign | (magnitude + 0xFFF + (magnitude >> 13 & 1) - (112u << 23)) >> 13);
}

#endif
