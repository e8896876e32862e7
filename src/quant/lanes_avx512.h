/* SPDX-License-Identifier: Apache-2.0 */
/* Sixteen lanes of what quant/lanes_ref.h says. */
#ifndef PHY_QUANT_LANES_AVX512_H
#define PHY_QUANT_LANES_AVX512_H

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

typedef __m512 vec;
typedef __m512i ivec;
typedef __mmask16 mask;
enum { LANES = 16 };
#define FORM(name) name##_avx512

#define vec_set1(x) _mm512_set1_ps(x)
#define vec_load(p) _mm512_loadu_ps(p)
#define vec_store(p, v) _mm512_storeu_ps(p, v)
#define vec_add(a, b) _mm512_add_ps(a, b)
#define vec_sub(a, b) _mm512_sub_ps(a, b)
#define vec_mul(a, b) _mm512_mul_ps(a, b)
#define vec_div(a, b) _mm512_div_ps(a, b)
#define vec_min(a, b) _mm512_min_ps(a, b)
#define vec_max(a, b) _mm512_max_ps(a, b)
#define vec_abs(v) _mm512_abs_ps(v)
#define vec_less(a, b) _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ)
#define vec_select(m, yes, no) _mm512_mask_blend_ps(m, no, yes)
#define vec_trunc(v) _mm512_cvttps_epi32(v)
#define vec_of_ivec(v) _mm512_cvtepi32_ps(v)
#define vec_of_bits(v) _mm512_castsi512_ps(v)
#define vec_bits(v) _mm512_castps_si512(v)

#define ivec_set1(x) _mm512_set1_epi32(x)
#define ivec_store(p, v) _mm512_storeu_si512(p, v)
#define ivec_add(a, b) _mm512_add_epi32(a, b)
#define ivec_and(a, b) _mm512_and_si512(a, b)
#define ivec_or(a, b) _mm512_or_si512(a, b)
#define ivec_shift_left(v, count) _mm512_slli_epi32(v, (unsigned)(count))
#define ivec_shift_right(v, count) _mm512_srli_epi32(v, (unsigned)(count))

/* 16 x 16: 32- and 64-bit unpacks, then the quarters. */
static inline void lanes_transpose_16(const float *from, size_t stride, vec *to)
{
    __m512 r[16];
    __m512d t[16];
    for (size_t i = 0; i < 16; i++)
        r[i] = vec_load(from + i * stride);
    for (int i = 0; i < 16; i += 4) {
        __m512d a = _mm512_castps_pd(_mm512_unpacklo_ps(r[i], r[i + 1]));
        __m512d b = _mm512_castps_pd(_mm512_unpackhi_ps(r[i], r[i + 1]));
        __m512d c = _mm512_castps_pd(_mm512_unpacklo_ps(r[i + 2], r[i + 3]));
        __m512d d = _mm512_castps_pd(_mm512_unpackhi_ps(r[i + 2], r[i + 3]));
        t[i] = _mm512_unpacklo_pd(a, c);
        t[i + 1] = _mm512_unpackhi_pd(a, c);
        t[i + 2] = _mm512_unpacklo_pd(b, d);
        t[i + 3] = _mm512_unpackhi_pd(b, d);
    }
    for (int i = 0; i < 4; i++) {
        __m512 a = _mm512_castpd_ps(t[i]), b = _mm512_castpd_ps(t[i + 4]);
        __m512 c = _mm512_castpd_ps(t[i + 8]), d = _mm512_castpd_ps(t[i + 12]);
        __m512 ab_even = _mm512_shuffle_f32x4(a, b, 0x88), ab_odd = _mm512_shuffle_f32x4(a, b, 0xDD);
        __m512 cd_even = _mm512_shuffle_f32x4(c, d, 0x88), cd_odd = _mm512_shuffle_f32x4(c, d, 0xDD);
        to[i] = _mm512_shuffle_f32x4(ab_even, cd_even, 0x88);
        to[i + 8] = _mm512_shuffle_f32x4(ab_even, cd_even, 0xDD);
        to[i + 4] = _mm512_shuffle_f32x4(ab_odd, cd_odd, 0x88);
        to[i + 12] = _mm512_shuffle_f32x4(ab_odd, cd_odd, 0xDD);
    }
}

static inline void lanes_transpose(const float *from, size_t stride, int count, vec *to)
{
    for (int i = 0; i < count; i += 16)
        lanes_transpose_16(from + i, stride, to + i);
}

#endif
