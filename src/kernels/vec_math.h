/* SPDX-License-Identifier: Apache-2.0 */
/* Functions of float32 vectors, over vec_avx2.h or vec_avx512.h. */
#ifndef PHY_KERNELS_VEC_MATH_H
#define PHY_KERNELS_VEC_MATH_H

#define INLINE static inline __attribute__((always_inline))
/* Loops over a register tile: their bounds are constants after inlining. Not where sanitizers put checks around each
 * access: unrolled, those take the compiler minutes. */
#if defined(__SANITIZE_ADDRESS__)
#define UNROLL
#define UNROLL_8
#else
#define UNROLL _Pragma("GCC unroll 32")
#define UNROLL_8 _Pragma("GCC unroll 8")
#endif

/* e^x: 2^n e^f with n = round(x log2 e), |f| <= ln2 / 2, and there 1 + f + the polynomial of degree 6 whose largest
 * relative error is least (4e-9; Taylor's is 2e-7). ln2 is in two parts, the first with trailing zeros, so that x - n
 * ln2 loses nothing. x is held between -87 and 88, a NaN stays one. high is e^x to 6e-8, high + low to 2e-8. */
INLINE void vec_exp_pair(vec x, vec *high, vec *low)
{
    x = vec_min(vec_set1(88.0f), vec_max(vec_set1(-87.0f), x)); /* of a NaN both give their second argument */
    vec n = vec_round(vec_mul(x, vec_set1(1.44269504f)));
    vec f = vec_fma(n, vec_set1(-0.693359375f), x);
    f = vec_fma(n, vec_set1(2.12194440e-4f), f);
    vec p = vec_set1(0x1.6a23d0p-10f);
    p = vec_fma(p, f, vec_set1(0x1.123a20p-7f));
    p = vec_fma(p, f, vec_set1(0x1.5558f2p-5f));
    p = vec_fma(p, f, vec_set1(0x1.555492p-3f));
    p = vec_fma(p, f, vec_set1(0x1.fffffcp-2f));
    const vec less_one = vec_fma(vec_mul(f, f), p, f), e = vec_add(less_one, vec_set1(1.0f)), scale = vec_pow2(n);
    *high = vec_mul(e, scale);
    *low = vec_mul(vec_sub(less_one, vec_sub(e, vec_set1(1.0f))), scale);
}

INLINE vec vec_exp(vec x)
{
    vec high, low;
    vec_exp_pair(x, &high, &low);
    return high;
}

/* Kahan's sum: *sum - *lost is what was added so far. */
INLINE void vec_add_kahan(vec *sum, vec *lost, vec v)
{
    const vec y = vec_sub(v, *lost), t = vec_add(*sum, y);
    *lost = vec_sub(vec_sub(t, *sum), y);
    *sum = t;
}

/* *sum += v; *rest collects what that rounds off: exact while |*sum| >= |v|, else off by a rounding of v. No more than
 * one addition waits for the one before. */
INLINE void vec_add_keeping(vec *sum, vec *rest, vec v)
{
    const vec t = vec_add(*sum, v);
    *rest = vec_add(*rest, vec_sub(v, vec_sub(t, *sum)));
    *sum = t;
}

#endif
