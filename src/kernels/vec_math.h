/* SPDX-License-Identifier: Apache-2.0 */
/* Functions of float32 vectors, over vec_avx2.h or vec_avx512.h. */
#ifndef PHY_KERNELS_VEC_MATH_H
#define PHY_KERNELS_VEC_MATH_H

#define INLINE static inline __attribute__((always_inline))
/* Loops over a register tile: their bounds are constants after inlining. Not where sanitizers put checks around each
 * access: unrolled, those take the compiler minutes. */
#if defined(__SANITIZE_ADDRESS__)
#define UNROLL
#else
#define UNROLL _Pragma("GCC unroll 32")
#endif

/* e^x: 2^n e^f with n = round(x log2 e), |f| <= ln2 / 2, and a Taylor polynomial of degree 6 (relative error below 2e-7
 * there); ln2 in two parts, the first with trailing zeros, so that x - n ln2 loses nothing. x is held between -87
 * and 88. */
INLINE vec vec_exp(vec x)
{
    x = vec_min(vec_max(x, vec_set1(-87.0f)), vec_set1(88.0f));
    vec n = vec_round(vec_mul(x, vec_set1(1.44269504f)));
    vec f = vec_fma(n, vec_set1(-0.693359375f), x);
    f = vec_fma(n, vec_set1(2.12194440e-4f), f);
    vec p = vec_set1(1.0f / 720.0f);
    p = vec_fma(p, f, vec_set1(1.0f / 120.0f));
    p = vec_fma(p, f, vec_set1(1.0f / 24.0f));
    p = vec_fma(p, f, vec_set1(1.0f / 6.0f));
    p = vec_fma(p, f, vec_set1(0.5f));
    p = vec_fma(p, f, vec_set1(1.0f));
    p = vec_fma(p, f, vec_set1(1.0f));
    return vec_mul(p, vec_pow2(n));
}

#endif
