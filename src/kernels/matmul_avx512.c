/* SPDX-License-Identifier: Apache-2.0 */
#include <immintrin.h>

#include "kernels/matmul_forms.h"

typedef __m512 vec;
enum { LANES = 16, UNIT_VECS = 2, TILE_COUNT = 12 }; /* 24 sums, 2 weights, 1 activation of 32 registers */
#define FORM(name) name##_avx512

#define vec_zero() _mm512_setzero_ps()
#define vec_fma(a, b, c) _mm512_fmadd_ps(a, b, c)
#define vec_sum(v) _mm512_reduce_add_ps(v)
#define vec_set1(x) _mm512_set1_ps(x)
#define vec_load(p) _mm512_loadu_ps(p)
#define vec_store(p, v) _mm512_storeu_ps(p, v)

static inline vec vec_widen_bf16(const uint16_t *p)
{
    __m512i words = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)p));
    return _mm512_castsi512_ps(_mm512_slli_epi32(words, 16));
}

static inline vec vec_widen_f16(const uint16_t *p)
{
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)p));
}

#include "kernels/matmul_simd.h"
