/* SPDX-License-Identifier: Apache-2.0 */
/* Lanes of floats to e2m1 and e4m3. Included after one of quant/lanes_*.h. */
#ifndef PHY_QUANT_ENCODE_SMALL_H
#define PHY_QUANT_ENCODE_SMALL_H

/* Magnitudes to few mantissa bits, ties to even: `shift` times the power of two below one leaves no bits for more.
 * Below `least`, subnormals, the step is that of its binade. */
static inline vec rounded_to(vec magnitude, float least, float largest, float shift)
{
    const vec within = vec_min(magnitude, vec_set1(largest));
    const ivec exponent = ivec_and(vec_bits(vec_max(within, vec_set1(least))), ivec_set1(0x7F800000));
    const vec binade = vec_mul(vec_of_bits(exponent), vec_set1(shift));
    return vec_sub(vec_add(within, binade), binade);
}

static inline vec rounded_e2m1(vec magnitude)
{
    return rounded_to(magnitude, 1, 6, 0x1.8p22f);
}

static inline vec rounded_e4m3(vec magnitude)
{
    return rounded_to(magnitude, 0x1p-6f, 448, 0x1.8p20f);
}

/* s.ee.m of the value that t rounds to. */
static inline ivec e2m1_code(vec t)
{
    const vec value = rounded_e2m1(vec_abs(t)), two = vec_set1(2), four = vec_set1(4);
    /* 0 .. 2 in halves, 2 .. 4 in ones, 4 .. 6 in twos: codes 0 .. 4, 4 .. 6, 6 .. 7. */
    const vec low = vec_add(value, value), middle = vec_add(value, two),
              high = vec_add(vec_mul(value, vec_set1(0.5f)), four);
    const vec code = vec_select(vec_less(value, two), low, vec_select(vec_less(value, four), middle, high));
    return ivec_or(vec_trunc(code), ivec_and(ivec_shift_right(vec_bits(t), 28), ivec_set1(8)));
}

/* s.eeee.mmm of the value that t rounds to, saturated. */
static inline ivec e4m3_code(vec t)
{
    const vec value = rounded_e4m3(vec_abs(t)), least = vec_set1(0x1p-6f);
    const ivec normal = ivec_add(ivec_shift_right(vec_bits(value), 20), ivec_set1(-960)); /* (127 - 7) * 8 */
    const vec subnormal = vec_mul(value, vec_set1(512));
    const vec code = vec_select(vec_less(value, least), subnormal, vec_of_ivec(normal));
    return ivec_or(vec_trunc(code), ivec_and(ivec_shift_right(vec_bits(t), 24), ivec_set1(0x80)));
}

#endif
