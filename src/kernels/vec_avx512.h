/* SPDX-License-Identifier: Apache-2.0 */
/* float32 vectors of AVX-512 under the names that the *_simd.h bodies use. FORM(name) is the exported name of this
 * form. */
#ifndef PHY_KERNELS_VEC_AVX512_H
#define PHY_KERNELS_VEC_AVX512_H

#include <immintrin.h>
#include <stdint.h>

typedef __m512 vec;
enum { LANES = 16 };
#define FORM(name) name##_avx512

#define vec_zero() _mm512_setzero_ps()
#define vec_set1(x) _mm512_set1_ps(x)
#define vec_load(p) _mm512_loadu_ps(p)
#define vec_store(p, v) _mm512_storeu_ps(p, v)
#define vec_fma(a, b, c) _mm512_fmadd_ps(a, b, c)
#define vec_add(a, b) _mm512_add_ps(a, b)
#define vec_sub(a, b) _mm512_sub_ps(a, b)
#define vec_mul(a, b) _mm512_mul_ps(a, b)
#define vec_div(a, b) _mm512_div_ps(a, b)
#define vec_max(a, b) _mm512_max_ps(a, b)
#define vec_min(a, b) _mm512_min_ps(a, b)
#define vec_sum(v) _mm512_reduce_add_ps(v)
#define vec_largest(v) _mm512_reduce_max_ps(v)
#define vec_and(a, b) _mm512_and_ps(a, b)
#define vec_abs_mask() _mm512_castsi512_ps(_mm512_set1_epi32(0x7FFFFFFF))
#define vec_round(v) _mm512_roundscale_ps(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)

/* The lanes of sum + rest, added up in float64. */
static inline float vec_sum_exactly(vec sum, vec rest)
{
    const __m512d low =
        _mm512_add_pd(_mm512_cvtps_pd(_mm512_castps512_ps256(sum)), _mm512_cvtps_pd(_mm512_castps512_ps256(rest)));
    const __m512d high = _mm512_add_pd(_mm512_cvtps_pd(_mm512_extractf32x8_ps(sum, 1)),
                                       _mm512_cvtps_pd(_mm512_extractf32x8_ps(rest, 1)));
    return (float)_mm512_reduce_add_pd(_mm512_add_pd(low, high));
}

/* Of each of four vectors the two halves added, then the two halves of those: block i is what is left of v[i]. */
static inline __attribute__((always_inline)) vec vec_quarters_of_4(const vec v[4])
{
    const vec ab = vec_add(_mm512_shuffle_f32x4(v[0], v[1], 0x44), _mm512_shuffle_f32x4(v[0], v[1], 0xEE));
    const vec cd = vec_add(_mm512_shuffle_f32x4(v[2], v[3], 0x44), _mm512_shuffle_f32x4(v[2], v[3], 0xEE));
    return vec_add(_mm512_shuffle_f32x4(ab, cd, 0x88), _mm512_shuffle_f32x4(ab, cd, 0xDD));
}

/* to[j * stride + i] = vec_sum(v[i * count + j]), bit for bit, of 4 x 4, 4 x 1 or 1 x 1. */
static inline __attribute__((always_inline)) void vec_store_sums(float *to, size_t stride, const vec *v, size_t rows,
                                                                 size_t count)
{
    if (rows == 1) {
        *to = vec_sum(v[0]);
        return;
    }
    if (count == 1) {
        const vec four = vec_quarters_of_4(v), two = vec_add(four, _mm512_permute_ps(four, 0x4E));
        const vec one = vec_add(two, _mm512_permute_ps(two, 0xB1));
        _mm_storeu_ps(to, _mm512_castps512_ps128(_mm512_maskz_compress_ps(0x1111, one)));
        return;
    }
    vec four[4];
    _Pragma("GCC unroll 4") for (size_t i = 0; i < 4; i++) four[i] = vec_quarters_of_4(v + 4 * i);
    const vec ab = vec_add(_mm512_shuffle_ps(four[0], four[1], 0x44), _mm512_shuffle_ps(four[0], four[1], 0xEE));
    const vec cd = vec_add(_mm512_shuffle_ps(four[2], four[3], 0x44), _mm512_shuffle_ps(four[2], four[3], 0xEE));
    const vec sums = vec_add(_mm512_shuffle_ps(ab, cd, 0x88), _mm512_shuffle_ps(ab, cd, 0xDD));
    _mm_storeu_ps(to, _mm512_castps512_ps128(sums));
    _mm_storeu_ps(to + stride, _mm512_extractf32x4_ps(sums, 1));
    _mm_storeu_ps(to + 2 * stride, _mm512_extractf32x4_ps(sums, 2));
    _mm_storeu_ps(to + 3 * stride, _mm512_extractf32x4_ps(sums, 3));
}

/* 2^n of an integral vector, n in -126 .. 127 */
static inline vec vec_pow2(vec n)
{
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_add_epi32(_mm512_cvtps_epi32(n), _mm512_set1_epi32(127)), 23));
}

/* LANES codes at p, unaligned, widened exactly */
static inline vec vec_widen_bf16(const uint16_t *p)
{
    __m512i words = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)p));
    return _mm512_castsi512_ps(_mm512_slli_epi32(words, 16));
}

static inline vec vec_widen_f16(const uint16_t *p)
{
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)p));
}

/* Eight sums of squares in float64; a product of two floats is exact there. */
typedef __m512d vec_squares;
#define vec_no_squares() _mm512_setzero_pd()
static inline vec_squares vec_add_squares(vec_squares sums, const float *x)
{
    const __m512d wide = _mm512_cvtps_pd(_mm256_loadu_ps(x));
    return _mm512_fmadd_pd(wide, wide, sums);
}
#define vec_store_squares(to, sums) _mm512_storeu_pd(to, sums)

/* Loads v here: compilers otherwise load it again for each instruction that uses it, and processors load one such
 * vector a cycle. */
#define vec_load_once(v, p)                                                                                            \
    do {                                                                                                               \
        (v) = vec_load(p);                                                                                             \
        __asm__("" : "+v"(v));                                                                                         \
    } while (0)

/* The first `count` <= LANES of a vector; the lanes behind are zero. */
static inline vec vec_load_some(const float *p, size_t count)
{
    return _mm512_maskz_loadu_ps((__mmask16)((1u << count) - 1), p);
}

static inline void vec_store_some(float *p, vec v, size_t count)
{
    _mm512_mask_storeu_ps(p, (__mmask16)((1u << count) - 1), v);
}

/* r[i] lane j becomes r[j] lane i: 4 x 4 blocks by 32- and 64-bit unpacks, then the blocks. */
static inline __attribute__((always_inline)) void vec_transpose(vec r[16])
{
    __m512d t[16];
    _Pragma("GCC unroll 16") for (int i = 0; i < 16; i += 4)
    {
        __m512d a = _mm512_castps_pd(_mm512_unpacklo_ps(r[i], r[i + 1]));
        __m512d b = _mm512_castps_pd(_mm512_unpackhi_ps(r[i], r[i + 1]));
        __m512d c = _mm512_castps_pd(_mm512_unpacklo_ps(r[i + 2], r[i + 3]));
        __m512d d = _mm512_castps_pd(_mm512_unpackhi_ps(r[i + 2], r[i + 3]));
        t[i] = _mm512_unpacklo_pd(a, c);
        t[i + 1] = _mm512_unpackhi_pd(a, c);
        t[i + 2] = _mm512_unpacklo_pd(b, d);
        t[i + 3] = _mm512_unpackhi_pd(b, d);
    }
    _Pragma("GCC unroll 4") for (int i = 0; i < 4; i++)
    {
        __m512 a = _mm512_castpd_ps(t[i]), b = _mm512_castpd_ps(t[i + 4]);
        __m512 c = _mm512_castpd_ps(t[i + 8]), d = _mm512_castpd_ps(t[i + 12]);
        __m512 ab_even = _mm512_shuffle_f32x4(a, b, 0x88), ab_odd = _mm512_shuffle_f32x4(a, b, 0xDD);
        __m512 cd_even = _mm512_shuffle_f32x4(c, d, 0x88), cd_odd = _mm512_shuffle_f32x4(c, d, 0xDD);
        r[i] = _mm512_shuffle_f32x4(ab_even, cd_even, 0x88);
        r[i + 8] = _mm512_shuffle_f32x4(ab_even, cd_even, 0xDD);
        r[i + 4] = _mm512_shuffle_f32x4(ab_odd, cd_odd, 0x88);
        r[i + 12] = _mm512_shuffle_f32x4(ab_odd, cd_odd, 0xDD);
    }
}

#endif
