/* SPDX-License-Identifier: Apache-2.0 */
/* Matrices of any weight type, of random bytes with finite scales. No encoder is involved. */
#ifndef PHY_TESTS_SUPPORT_RANDOM_BLOCKS_H
#define PHY_TESTS_SUPPORT_RANDOM_BLOCKS_H

#include "quant/small_float.h"
#include "quant/weight_type.h"
#include "support/parity.h"

/* EXTREMES: scales of every magnitude and sign, subnormal and zero ones among them. SUBNORMALS: only such. ALL_EQUAL:
 * one weight everywhere, so that every addition of a binade rounds the same way. */
enum pattern { RANDOM, ZEROS, EXTREMES, SUBNORMALS, ALL_EQUAL, PATTERNS };
static const char *const pattern_names[] = {"random", "zeros", "extremes", "subnormals", "all equal"};

/* Bits of a finite binary16. */
static inline uint16_t draw_half(enum pattern pattern)
{
    const uint32_t word = random_bits(), sign_and_mantissa = word & 0x83FFu;
    switch (pattern) {
    case ZEROS:
        return (uint16_t)(word & 0x8000u);
    case EXTREMES:
        return (uint16_t)(word % 8 == 0 ? word & 0x8000u : sign_and_mantissa | (word >> 16) % 31 << 10);
    case SUBNORMALS:
        return (uint16_t)sign_and_mantissa;
    case ALL_EQUAL:
        return 0x3555; /* 1/3 */
    default:
        return (uint16_t)(sign_and_mantissa | (6 + (word >> 16) % 6) << 10);
    }
}

/* An e4m3 code that is no NaN. */
static inline uint8_t draw_e4m3(enum pattern pattern)
{
    const uint32_t word = random_bits() >> 8;
    switch (pattern) {
    case ZEROS:
        return word & 0x80;
    case SUBNORMALS:
        return word & 0x87;
    case ALL_EQUAL:
        return 0x35;
    case RANDOM:
        return (uint8_t)((word & 0x87) | (4 + (word >> 8) % 8) << 3);
    default:
        return (word & 0x7F) == 0x7F ? 0x7E : (uint8_t)word;
    }
}

static inline uint8_t draw_e8m0(enum pattern pattern)
{
    switch (pattern) {
    case SUBNORMALS:
        return (uint8_t)random_below(3);
    case ALL_EQUAL:
        return 127;
    case EXTREMES:
        return (uint8_t)(random_below(4) ? 60 + random_below(130) : random_below(4));
    default:
        return (uint8_t)(120 + random_below(8));
    }
}

static inline uint32_t draw_float(enum phy_weight_type type, enum pattern pattern)
{
    uint32_t bits = phy_bits_of_float(0.05f * gaussian());
    if (type == PHY_WEIGHT_F16)
        return draw_half(pattern);
    if (pattern == ZEROS)
        bits &= 0x80000000u;
    else if (pattern == ALL_EQUAL)
        bits = 0x3EAAAAABu; /* 1/3 */
    else if (pattern == EXTREMES)
        bits = (bits & 0x807FFFFFu) | (77 + random_below(100)) << 23;
    else if (pattern == SUBNORMALS)
        bits &= 0x807FFFFFu;
    return type == PHY_WEIGHT_F32 ? bits : bits >> 16;
}

static inline void put_half(uint8_t *at, enum pattern pattern)
{
    const uint16_t half = draw_half(pattern);
    memcpy(at, &half, 2);
}

static inline void draw_block(enum phy_weight_type type, enum pattern pattern, uint8_t *block)
{
    const size_t bytes = phy_weight_format(type)->bytes;
    for (size_t i = 0; i < bytes; i++)
        block[i] = pattern == ALL_EQUAL ? 0x55 : (uint8_t)(random_bits() >> 24);
    switch (type) {
    case PHY_WEIGHT_Q8_0:
    case PHY_WEIGHT_Q4_0:
        put_half(block, pattern);
        break;
    case PHY_WEIGHT_Q4_K:
        put_half(block, pattern);
        put_half(block + 2, pattern);
        break;
    case PHY_WEIGHT_Q6_K:
        put_half(block + 208, pattern);
        break;
    case PHY_WEIGHT_FP8:
        for (size_t i = 0; i < bytes; i++)
            block[i] = draw_e4m3(pattern == ALL_EQUAL || i == bytes - 1 ? pattern : EXTREMES);
        break;
    case PHY_WEIGHT_FP4:
        for (size_t i = 128; i < bytes; i++)
            block[i] = draw_e4m3(pattern);
        break;
    case PHY_WEIGHT_MXFP4:
        block[0] = draw_e8m0(pattern);
        for (size_t i = 1; pattern == ZEROS && i < bytes; i++)
            block[i] &= 0x88;
        break;
    default: {
        const uint32_t code = draw_float(type, pattern);
        memcpy(block, &code, bytes);
    }
    }
}

static inline size_t row_bytes_of(enum phy_weight_type type, size_t cols)
{
    size_t bytes = 0;
    phy_weight_row_bytes(type, cols, &bytes);
    return bytes;
}

static inline void draw_matrix(enum phy_weight_type type, enum pattern pattern, size_t rows, size_t cols, uint8_t *to)
{
    const size_t bytes = phy_weight_format(type)->bytes, blocks = rows * row_bytes_of(type, cols) / bytes;
    for (size_t i = 0; i < blocks; i++)
        draw_block(type, pattern, to + i * bytes);
}

static inline float draw_activation(enum pattern pattern)
{
    const float value = gaussian();
    switch (pattern) {
    case ALL_EQUAL:
        return 0.7f;
    case EXTREMES:
        return ldexpf(value, (int)random_below(60) - 30);
    case SUBNORMALS: /* large enough that the sums of subnormal weights are normal */
        return ldexpf(value, 40);
    default:
        return value;
    }
}

#endif
