/* SPDX-License-Identifier: Apache-2.0 */
#include <immintrin.h>

#include "kernels/attention_forms.h"

typedef __m512 vec;
enum { LANES = 16 };
#define FORM(name) name##_avx512

#define vec_zero() _mm512_setzero_ps()
#define vec_fma(a, b, c) _mm512_fmadd_ps(a, b, c)
#define vec_add(a, b) _mm512_add_ps(a, b)
#define vec_mul(a, b) _mm512_mul_ps(a, b)
#define vec_max(a, b) _mm512_max_ps(a, b)
#define vec_sum(v) _mm512_reduce_add_ps(v)
#define vec_set1(x) _mm512_set1_ps(x)
#define vec_load(p) _mm512_loadu_ps(p)
#define vec_store(p, v) _mm512_storeu_ps(p, v)
#define vec_round(v) _mm512_roundscale_ps(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)
#define vec_pow2(n)                                                                                                    \
    _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_add_epi32(_mm512_cvtps_epi32(n), _mm512_set1_epi32(127)), 23))

#include "kernels/attention_simd.h"
