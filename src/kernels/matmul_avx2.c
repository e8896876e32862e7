/* SPDX-License-Identifier: Apache-2.0 */
#include <immintrin.h>

#include "kernels/matmul_forms.h"

typedef __m256 vec;
enum { LANES = 8, UNIT_VECS = 2, TILE_COUNT = 6 }; /* 12 sums, 2 weights, 1 activation of 16 registers */
#define FORM(name) name##_avx2

#define vec_zero() _mm256_setzero_ps()
#define vec_fma(a, b, c) _mm256_fmadd_ps(a, b, c)
#define vec_set1(x) _mm256_set1_ps(x)
#define vec_load(p) _mm256_loadu_ps(p)
#define vec_store(p, v) _mm256_storeu_ps(p, v)

static inline float vec_sum(vec v)
{
    __m128 four = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    four = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(four, _mm_movehdup_ps(four)));
}

static inline vec vec_widen_bf16(const uint16_t *p)
{
    __m256i words = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)p));
    return _mm256_castsi256_ps(_mm256_slli_epi32(words, 16));
}

static inline vec vec_widen_f16(const uint16_t *p)
{
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)p));
}

#include "kernels/matmul_simd.h"
