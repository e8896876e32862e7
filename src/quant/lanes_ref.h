/* SPDX-License-Identifier: Apache-2.0 */
/* One lane: the plain meaning of every operation that the encode_*.h bodies use. The vector forms compute the same in
 * each of their lanes, bit for bit: no operation but lanes_transpose crosses lanes, and none is fused. */
#ifndef PHY_QUANT_LANES_REF_H
#define PHY_QUANT_LANES_REF_H

#include <stdbool.h>
#include <stdint.h>

#include "quant/small_float.h"

typedef float vec;
typedef int32_t ivec;
typedef bool mask;
enum { LANES = 1 };
#define FORM(name) name##_ref

static inline vec vec_set1(float x)
{
    return x;
}
static inline vec vec_load(const float *p)
{
    return *p;
}
static inline void vec_store(float *p, vec v)
{
    *p = v;
}
static inline vec vec_add(vec a, vec b)
{
    return a + b;
}
static inline vec vec_sub(vec a, vec b)
{
    return a - b;
}
static inline vec vec_mul(vec a, vec b)
{
    return a * b;
}
static inline vec vec_div(vec a, vec b)
{
    return a / b;
}
/* Of equals, and where one is a NaN, the second: what the instructions do. */
static inline vec vec_min(vec a, vec b)
{
    return a < b ? a : b;
}
static inline vec vec_max(vec a, vec b)
{
    return a > b ? a : b;
}
static inline vec vec_abs(vec v)
{
    return phy_float_of_bits(phy_bits_of_float(v) & 0x7FFFFFFF);
}
static inline mask vec_less(vec a, vec b)
{
    return a < b;
}
static inline vec vec_select(mask m, vec yes, vec no)
{
    return m ? yes : no;
}
/* Towards zero; |v| < 2^31. */
static inline ivec vec_trunc(vec v)
{
    return (ivec)v;
}
static inline vec vec_of_ivec(ivec v)
{
    return (float)v;
}
static inline vec vec_of_bits(ivec v)
{
    return phy_float_of_bits((uint32_t)v);
}
static inline ivec vec_bits(vec v)
{
    return (ivec)phy_bits_of_float(v);
}

static inline ivec ivec_set1(int32_t x)
{
    return x;
}
static inline void ivec_store(int32_t *p, ivec v)
{
    *p = v;
}
static inline ivec ivec_add(ivec a, ivec b)
{
    return (ivec)((uint32_t)a + (uint32_t)b);
}
static inline ivec ivec_and(ivec a, ivec b)
{
    return a & b;
}
static inline ivec ivec_or(ivec a, ivec b)
{
    return a | b;
}
static inline ivec ivec_shift_left(ivec v, int count)
{
    return (ivec)((uint32_t)v << count);
}
/* Zeros come in from the left. */
static inline ivec ivec_shift_right(ivec v, int count)
{
    return (ivec)((uint32_t)v >> count);
}

/* count (a multiple of 16) floats of each of LANES rows, `stride` apart, to to[i], lane by lane. */
static inline void lanes_transpose(const float *from, size_t stride, int count, vec *to)
{
    (void)stride;
    for (int i = 0; i < count; i++)
        to[i] = from[i];
}

#endif
