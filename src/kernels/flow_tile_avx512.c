/* SPDX-License-Identifier: Apache-2.0 */
/* The tile flow on vectors of 16. Built with AVX-512 F, BW, DQ and VL; nothing else may be in this file. */
#include <immintrin.h>

enum { LANES = 16, GROUP = 8 };
typedef __m512 vf;
typedef __m512i vi;
typedef __mmask16 vm;

#include "kernels/flow_tile_forms.h"

static inline vf vf_set(float x)
{
    return _mm512_set1_ps(x);
}

static inline vf vf_load(const float *p)
{
    return _mm512_load_ps(p);
}

static inline void vf_store(float *p, vf x)
{
    _mm512_store_ps(p, x);
}

static inline vf vf_add(vf x, vf y)
{
    return _mm512_add_ps(x, y);
}

static inline vf vf_sub(vf x, vf y)
{
    return _mm512_sub_ps(x, y);
}

static inline vf vf_mul(vf x, vf y)
{
    return _mm512_mul_ps(x, y);
}

static inline vf vf_min(vf x, vf y)
{
    return _mm512_min_ps(x, y);
}

/* x * y + z, rounded once. */
static inline vf vf_fused(vf x, vf y, vf z)
{
    return _mm512_fmadd_ps(x, y, z);
}

static inline vi vf_truncate(vf x)
{
    return _mm512_cvttps_epu32(x);
}

static inline vi vf_bits(vf x)
{
    return _mm512_castps_si512(x);
}

static inline vf vf_of_bits(vi x)
{
    return _mm512_castsi512_ps(x);
}

static inline vf vf_of_integers(vi x)
{
    return _mm512_cvtepu32_ps(x);
}

static inline vm vf_less(vf x, vf y)
{
    return _mm512_cmp_ps_mask(x, y, _CMP_LT_OQ);
}

/* x, but 0 where s is 0. */
static inline vf vf_unless_zero(vi s, vf x)
{
    return _mm512_maskz_mov_ps(_mm512_test_epi32_mask(s, s), x);
}

static inline vi vi_set(uint32_t x)
{
    return _mm512_set1_epi32((int)x);
}

static inline vi vi_load(const uint32_t *p)
{
    return _mm512_load_si512(p);
}

static inline void vi_store(uint32_t *p, vi x)
{
    _mm512_store_si512(p, x);
}

static inline vi vi_add(vi x, vi y)
{
    return _mm512_add_epi32(x, y);
}

static inline vi vi_sub(vi x, vi y)
{
    return _mm512_sub_epi32(x, y);
}

static inline vi vi_shift_right(vi x, uint32_t count)
{
    return _mm512_srli_epi32(x, count);
}

static inline vi vi_max(vi x, vi y)
{
    return _mm512_max_epu32(x, y);
}

static inline vm vi_equal(vi x, vi y)
{
    return _mm512_cmpeq_epi32_mask(x, y);
}

/* x, but 0 where it is below the limit. */
static inline vi vi_zero_below(vi x, vi limit)
{
    return _mm512_maskz_mov_epi32(_mm512_cmpge_epu32_mask(x, limit), x);
}

static inline uint32_t vi_largest(vi x)
{
    return _mm512_reduce_max_epu32(x);
}

static inline uint32_t vm_count(vm mask)
{
    return (uint32_t)__builtin_popcount(mask);
}

static inline vm vm_unless(vm mask, vm unless)
{
    return _kandn_mask16(unless, mask);
}

static inline vm first_lanes(uint32_t count)
{
    return (vm)((1u << count) - 1);
}

static inline vf load_floats(const float *p, uint32_t count)
{
    return _mm512_maskz_loadu_ps(first_lanes(count), p);
}

static inline vi load_magnitudes(const void *codes, enum phy_float_type type, size_t index, uint32_t count)
{
    vm lanes = first_lanes(count);
    if (type == PHY_FLOAT_F32)
        return _mm512_and_si512(_mm512_maskz_loadu_epi32(lanes, (const uint32_t *)codes + index), vi_set(0x7FFFFFFFu));
    __m256i halves = _mm256_maskz_loadu_epi16(lanes, (const uint16_t *)codes + index);
    halves = _mm256_and_si256(halves, _mm256_set1_epi16(0x7FFF));
    if (type == PHY_FLOAT_F16)
        return vf_bits(_mm512_cvtph_ps(halves));
    return _mm512_slli_epi32(_mm512_cvtepu16_epi32(halves), 16);
}

static inline void clear_codes(void *codes, enum phy_float_type type, size_t index, uint32_t count, vm chosen)
{
    (void)count; /* no lane past it is ever chosen: its magnitude is zero */
    if (type == PHY_FLOAT_F32)
        _mm512_mask_storeu_epi32((uint32_t *)codes + index, chosen, _mm512_setzero_si512());
    else
        _mm256_mask_storeu_epi16((uint16_t *)codes + index, chosen, _mm256_setzero_si256());
}

static inline void totals_of_four(const vi *sums, uint32_t *totals)
{
    __m512i ab = _mm512_add_epi32(_mm512_unpacklo_epi32(sums[0], sums[1]), _mm512_unpackhi_epi32(sums[0], sums[1]));
    __m512i cd = _mm512_add_epi32(_mm512_unpacklo_epi32(sums[2], sums[3]), _mm512_unpackhi_epi32(sums[2], sums[3]));
    /* Each 128 bits now hold a b a b and c d c d. */
    __m512i abcd = _mm512_add_epi32(_mm512_unpacklo_epi64(ab, cd), _mm512_unpackhi_epi64(ab, cd));
    __m256i half = _mm256_add_epi32(_mm512_castsi512_si256(abcd), _mm512_extracti64x4_epi64(abcd, 1));
    __m128i quarter = _mm_add_epi32(_mm256_castsi256_si128(half), _mm256_extracti128_si256(half, 1));
    _mm_storeu_si128((__m128i *)totals, quarter);
}

#include "kernels/flow_tile_simd.h"

void phy_flow_tile_avx512(const struct phy_flow_tile *tile, const struct phy_flow_params *params, void *scratch,
                          struct phy_flow_tile_result *result)
{
    run_tile(tile, params, scratch, result);
}
