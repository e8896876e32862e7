/* SPDX-License-Identifier: Apache-2.0 */
/* What the encode_*.h bodies share: they work on units of as many blocks as fill the lanes. Included after one of
 * quant/lanes_*.h. */
#ifndef PHY_QUANT_ENCODE_UNITS_H
#define PHY_QUANT_ENCODE_UNITS_H

#include <assert.h>
#include <string.h>

#include "base/checked_math.h"
#include "quant/small_float.h"

enum { UNIT_MAX_ELEMENTS = LANES > 8 ? 32 * LANES : 256, UNIT_MAX_BYTES = 2 * UNIT_MAX_ELEMENTS };

typedef void encode_unit(const float *from, uint8_t *out);

/* Whole units where they lie; what is left over among zeros. */
static inline __attribute__((always_inline)) void encode_in_units(encode_unit *encode, size_t unit, size_t elements,
                                                                  size_t bytes, const float *from, size_t blocks,
                                                                  uint8_t *out)
{
    assert(unit * elements <= UNIT_MAX_ELEMENTS && unit * bytes <= UNIT_MAX_BYTES);
    for (; blocks >= unit; blocks -= unit, from += unit * elements, out += unit * bytes)
        encode(from, out);
    if (blocks) {
        float padded[UNIT_MAX_ELEMENTS] = {0};
        uint8_t encoded[UNIT_MAX_BYTES];
        memcpy(padded, from, blocks * elements * sizeof *from);
        encode(padded, encoded);
        memcpy(out, encoded, blocks * bytes);
    }
}

/* Four codes below 256 as the bytes of a word, the first lowest. */
static inline ivec bytes_of(ivec a, ivec b, ivec c, ivec d)
{
    return ivec_or(ivec_or(a, ivec_shift_left(b, 8)), ivec_or(ivec_shift_left(c, 16), ivec_shift_left(d, 24)));
}

/* Lane by lane to out, stride bytes apart. */
static inline void put_words(ivec words, uint8_t *out, size_t stride)
{
    int32_t lanes[LANES];
    ivec_store(lanes, words);
    for (size_t lane = 0; lane < LANES; lane++)
        phy_store_u32(out + lane * stride, (uint32_t)lanes[lane]);
}

static inline void put_halves(vec values, uint8_t *out, size_t stride)
{
    float lanes[LANES];
    vec_store(lanes, values);
    for (size_t lane = 0; lane < LANES; lane++)
        phy_store_u16(out + lane * stride, phy_f16_round(lanes[lane]));
}

/* Where f16 would make it infinite, its largest value. */
static inline vec within_f16(vec v)
{
    const vec largest = vec_set1(65504), sign = vec_of_bits(ivec_and(vec_bits(v), ivec_set1(INT32_MIN)));
    const vec saturated = vec_of_bits(ivec_or(vec_bits(largest), vec_bits(sign)));
    return vec_select(vec_less(vec_abs(v), vec_set1(65520)), v, saturated);
}

/* 1/v; 0 where that is infinite. */
static inline vec finite_inverse(vec v)
{
    const vec inverse = vec_div(vec_set1(1), v);
    return vec_select(vec_less(vec_abs(inverse), vec_of_bits(ivec_set1(0x7F800000))), inverse, vec_set1(0));
}

/* To the nearest integer, ties to even; |v| < 2^22. Adding 1.5 * 2^23 leaves no bits for a fraction. */
static inline vec nearest(vec v)
{
    const vec shift = vec_set1(0x1.8p23f);
    return vec_sub(vec_add(v, shift), shift);
}

/* NaN becomes least. */
static inline vec clamped(vec v, vec least, vec most)
{
    return vec_min(vec_max(v, least), most);
}

/* The f16 that a block's scale becomes: nearest to most / limit, but no smaller than it takes for codes up to limit to
 * reach `most` but for half a step, so that a subnormal one is rounded up rather than to a fraction of what is needed.
 */
static inline float scale_to_reach(float most, float limit)
{
    float scale = most / limit;
    if (scale > 65504)
        scale = 65504;
    uint16_t half = phy_f16_round(scale);
    if (phy_f16_widen(half) * (limit + 0.5f) < most && half < 0x7BFF)
        half++;
    return phy_f16_widen(half);
}

#endif
