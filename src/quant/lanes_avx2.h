/* SPDX-License-Identifier: Apache-2.0 */
/* Eight lanes of what quant/lanes_ref.h says. */
#ifndef PHY_QUANT_LANES_AVX2_H
#define PHY_QUANT_LANES_AVX2_H

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

typedef __m256 vec;
typedef __m256i ivec;
typedef __m256 mask;
enum { LANES = 8 };
#define FORM(name) name##_avx2

#define vec_set1(x) _mm256_set1_ps(x)
#define vec_load(p) _mm256_loadu_ps(p)
#define vec_store(p, v) _mm256_storeu_ps(p, v)
#define vec_add(a, b) _mm256_add_ps(a, b)
#define vec_sub(a, b) _mm256_sub_ps(a, b)
#define vec_mul(a, b) _mm256_mul_ps(a, b)
#define vec_div(a, b) _mm256_div_ps(a, b)
#define vec_min(a, b) _mm256_min_ps(a, b)
#define vec_max(a, b) _mm256_max_ps(a, b)
#define vec_abs(v) _mm256_andnot_ps(_mm256_set1_ps(-0.0f), v)
#define vec_less(a, b) _mm256_cmp_ps(a, b, _CMP_LT_OQ)
#define vec_select(m, yes, no) _mm256_blendv_ps(no, yes, m)
#define vec_trunc(v) _mm256_cvttps_epi32(v)
#define vec_of_ivec(v) _mm256_cvtepi32_ps(v)
#define vec_of_bits(v) _mm256_castsi256_ps(v)
#define vec_bits(v) _mm256_castps_si256(v)

#define ivec_set1(x) _mm256_set1_epi32(x)
#define ivec_store(p, v) _mm256_storeu_si256((__m256i *)(p), v)
#define ivec_add(a, b) _mm256_add_epi32(a, b)
#define ivec_and(a, b) _mm256_and_si256(a, b)
#define ivec_or(a, b) _mm256_or_si256(a, b)
#define ivec_shift_left(v, count) _mm256_slli_epi32(v, count)
#define ivec_shift_right(v, count) _mm256_srli_epi32(v, count)

/* 8 x 8: 32- and 64-bit unpacks, then the halves. */
static inline void lanes_transpose_8(const float *from, size_t stride, vec *to)
{
    __m256 r[8], t[8];
    for (size_t i = 0; i < 8; i++)
        r[i] = vec_load(from + i * stride);
    for (int i = 0; i < 8; i += 4) {
        __m256d a = _mm256_castps_pd(_mm256_unpacklo_ps(r[i], r[i + 1]));
        __m256d b = _mm256_castps_pd(_mm256_unpackhi_ps(r[i], r[i + 1]));
        __m256d c = _mm256_castps_pd(_mm256_unpacklo_ps(r[i + 2], r[i + 3]));
        __m256d d = _mm256_castps_pd(_mm256_unpackhi_ps(r[i + 2], r[i + 3]));
        t[i] = _mm256_castpd_ps(_mm256_unpacklo_pd(a, c));
        t[i + 1] = _mm256_castpd_ps(_mm256_unpackhi_pd(a, c));
        t[i + 2] = _mm256_castpd_ps(_mm256_unpacklo_pd(b, d));
        t[i + 3] = _mm256_castpd_ps(_mm256_unpackhi_pd(b, d));
    }
    for (int i = 0; i < 4; i++) {
        to[i] = _mm256_permute2f128_ps(t[i], t[i + 4], 0x20);
        to[i + 4] = _mm256_permute2f128_ps(t[i], t[i + 4], 0x31);
    }
}

static inline void lanes_transpose(const float *from, size_t stride, int count, vec *to)
{
    for (int i = 0; i < count; i += 8)
        lanes_transpose_8(from + i, stride, to + i);
}

#endif
