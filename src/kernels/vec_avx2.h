/* SPDX-License-Identifier: Apache-2.0 */
/* float32 vectors of AVX2 under the names that the *_simd.h bodies use. FORM(name) is the exported name of this form.
 */
#ifndef PHY_KERNELS_VEC_AVX2_H
#define PHY_KERNELS_VEC_AVX2_H

#include <immintrin.h>
#include <stdint.h>

typedef __m256 vec;
enum { LANES = 8 };
#define FORM(name) name##_avx2

#define vec_zero() _mm256_setzero_ps()
#define vec_set1(x) _mm256_set1_ps(x)
#define vec_load(p) _mm256_loadu_ps(p)
#define vec_load_once(v, p) ((v) = vec_load(p))
#define vec_store(p, v) _mm256_storeu_ps(p, v)
#define vec_fma(a, b, c) _mm256_fmadd_ps(a, b, c)
#define vec_add(a, b) _mm256_add_ps(a, b)
#define vec_sub(a, b) _mm256_sub_ps(a, b)
#define vec_mul(a, b) _mm256_mul_ps(a, b)
#define vec_div(a, b) _mm256_div_ps(a, b)
#define vec_max(a, b) _mm256_max_ps(a, b)
#define vec_min(a, b) _mm256_min_ps(a, b)
#define vec_and(a, b) _mm256_and_ps(a, b)
#define vec_abs_mask() _mm256_castsi256_ps(_mm256_set1_epi32(0x7FFFFFFF))
#define vec_round(v) _mm256_round_ps(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)

static inline float vec_sum(vec v)
{
    __m128 four = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    four = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(four, _mm_movehdup_ps(four)));
}

/* to[j * stride + i] = vec_sum(v[i * count + j]) for i < rows, j < count. */
static inline __attribute__((always_inline)) void vec_store_sums(float *to, size_t stride, const vec *v, size_t rows,
                                                                 size_t count)
{
    _Pragma("GCC unroll 4") for (size_t i = 0; i < rows; i++)
    {
        _Pragma("GCC unroll 4") for (size_t j = 0; j < count; j++) to[j * stride + i] = vec_sum(v[i * count + j]);
    }
}

static inline float vec_largest(vec v)
{
    __m128 four = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    four = _mm_max_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_max_ss(four, _mm_movehdup_ps(four)));
}

/* The lanes of sum + rest, added up in float64. */
static inline float vec_sum_exactly(vec sum, vec rest)
{
    const __m256d low =
        _mm256_add_pd(_mm256_cvtps_pd(_mm256_castps256_ps128(sum)), _mm256_cvtps_pd(_mm256_castps256_ps128(rest)));
    const __m256d high =
        _mm256_add_pd(_mm256_cvtps_pd(_mm256_extractf128_ps(sum, 1)), _mm256_cvtps_pd(_mm256_extractf128_ps(rest, 1)));
    const __m256d four = _mm256_add_pd(low, high);
    const __m128d two = _mm_add_pd(_mm256_castpd256_pd128(four), _mm256_extractf128_pd(four, 1));
    return (float)_mm_cvtsd_f64(_mm_add_sd(two, _mm_unpackhi_pd(two, two)));
}

/* 2^n of an integral vector, n in -126 .. 127 */
static inline vec vec_pow2(vec n)
{
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)), 23));
}

/* LANES codes at p, unaligned, widened exactly */
static inline vec vec_widen_bf16(const uint16_t *p)
{
    __m256i words = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)p));
    return _mm256_castsi256_ps(_mm256_slli_epi32(words, 16));
}

static inline vec vec_widen_f16(const uint16_t *p)
{
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)p));
}

/* Eight sums of squares in float64; a product of two floats is exact there. */
typedef struct {
    __m256d low, high;
} vec_squares;
#define vec_no_squares() ((vec_squares){_mm256_setzero_pd(), _mm256_setzero_pd()})
static inline vec_squares vec_add_squares(vec_squares sums, const float *x)
{
    const __m256d low = _mm256_cvtps_pd(_mm_loadu_ps(x)), high = _mm256_cvtps_pd(_mm_loadu_ps(x + 4));
    return (vec_squares){_mm256_fmadd_pd(low, low, sums.low), _mm256_fmadd_pd(high, high, sums.high)};
}
static inline void vec_store_squares(double *to, vec_squares sums)
{
    _mm256_storeu_pd(to, sums.low);
    _mm256_storeu_pd(to + 4, sums.high);
}

/* r[i] lane j becomes r[j] lane i: 4 x 4 blocks by 32- and 64-bit unpacks, then the halves. */
static inline __attribute__((always_inline)) void vec_transpose(vec r[8])
{
    __m256 t[8];
    _Pragma("GCC unroll 2") for (int i = 0; i < 8; i += 4)
    {
        __m256d a = _mm256_castps_pd(_mm256_unpacklo_ps(r[i], r[i + 1]));
        __m256d b = _mm256_castps_pd(_mm256_unpackhi_ps(r[i], r[i + 1]));
        __m256d c = _mm256_castps_pd(_mm256_unpacklo_ps(r[i + 2], r[i + 3]));
        __m256d d = _mm256_castps_pd(_mm256_unpackhi_ps(r[i + 2], r[i + 3]));
        t[i] = _mm256_castpd_ps(_mm256_unpacklo_pd(a, c));
        t[i + 1] = _mm256_castpd_ps(_mm256_unpackhi_pd(a, c));
        t[i + 2] = _mm256_castpd_ps(_mm256_unpacklo_pd(b, d));
        t[i + 3] = _mm256_castpd_ps(_mm256_unpackhi_pd(b, d));
    }
    _Pragma("GCC unroll 4") for (int i = 0; i < 4; i++)
    {
        r[i] = _mm256_permute2f128_ps(t[i], t[i + 4], 0x20);
        r[i + 4] = _mm256_permute2f128_ps(t[i], t[i + 4], 0x31);
    }
}

#endif
