/* SPDX-License-Identifier: Apache-2.0 */
/* The tile flow on vectors of 8. Built with AVX2, FMA and F16C; nothing else may be in this file. */
#include <immintrin.h>

enum { LANES = 8, GROUP = 8 };
typedef __m256 vf;
typedef __m256i vi;
typedef __m256i vm; /* all ones or zero in each lane */

#include "kernels/flow_tile_forms.h"

static inline vf vf_set(float x)
{
    return _mm256_set1_ps(x);
}

static inline vf vf_load(const float *p)
{
    return _mm256_load_ps(p);
}

static inline void vf_store(float *p, vf x)
{
    _mm256_store_ps(p, x);
}

static inline vf vf_add(vf x, vf y)
{
    return _mm256_add_ps(x, y);
}

static inline vf vf_sub(vf x, vf y)
{
    return _mm256_sub_ps(x, y);
}

static inline vf vf_mul(vf x, vf y)
{
    return _mm256_mul_ps(x, y);
}

static inline vf vf_min(vf x, vf y)
{
    return _mm256_min_ps(x, y);
}

/* x * y + z, rounded once. */
static inline vf vf_fused(vf x, vf y, vf z)
{
    return _mm256_fmadd_ps(x, y, z);
}

/* Everything we convert is below 2^24, so signed and unsigned are the same. */
static inline vi vf_truncate(vf x)
{
    return _mm256_cvttps_epi32(x);
}

static inline vi vf_bits(vf x)
{
    return _mm256_castps_si256(x);
}

static inline vf vf_of_bits(vi x)
{
    return _mm256_castsi256_ps(x);
}

static inline vf vf_of_integers(vi x)
{
    return _mm256_cvtepi32_ps(x);
}

static inline vm vf_less(vf x, vf y)
{
    return _mm256_castps_si256(_mm256_cmp_ps(x, y, _CMP_LT_OQ));
}

/* x, but 0 where s is 0. */
static inline vf vf_unless_zero(vi s, vf x)
{
    return _mm256_castsi256_ps(_mm256_andnot_si256(_mm256_cmpeq_epi32(s, _mm256_setzero_si256()), vf_bits(x)));
}

static inline vi vi_set(uint32_t x)
{
    return _mm256_set1_epi32((int)x);
}

static inline vi vi_load(const uint32_t *p)
{
    return _mm256_load_si256((const __m256i *)p);
}

static inline void vi_store(uint32_t *p, vi x)
{
    _mm256_store_si256((__m256i *)p, x);
}

static inline vi vi_add(vi x, vi y)
{
    return _mm256_add_epi32(x, y);
}

static inline vi vi_sub(vi x, vi y)
{
    return _mm256_sub_epi32(x, y);
}

static inline vi vi_shift_right(vi x, uint32_t count)
{
    return _mm256_srli_epi32(x, (int)count);
}

static inline vi vi_max(vi x, vi y)
{
    return _mm256_max_epu32(x, y);
}

static inline vm vi_equal(vi x, vi y)
{
    return _mm256_cmpeq_epi32(x, y);
}

/* x, but 0 where it is below the limit. */
static inline vi vi_zero_below(vi x, vi limit)
{
    return _mm256_and_si256(x, _mm256_cmpeq_epi32(_mm256_max_epu32(x, limit), x));
}

static inline uint32_t vi_largest(vi x)
{
    uint32_t lane[LANES], largest = 0;
    _mm256_storeu_si256((__m256i *)lane, x);
    for (int i = 0; i < LANES; i++)
        largest = lane[i] > largest ? lane[i] : largest;
    return largest;
}

static inline uint32_t vm_count(vm mask)
{
    return (uint32_t)__builtin_popcount((unsigned)_mm256_movemask_ps(_mm256_castsi256_ps(mask)));
}

static inline vm vm_unless(vm mask, vm unless)
{
    return _mm256_andnot_si256(unless, mask);
}

static inline vf load_floats(const float *p, uint32_t count)
{
    float lane[LANES] = {0};
    if (count == LANES)
        return _mm256_loadu_ps(p);
    memcpy(lane, p, count * sizeof *lane);
    return _mm256_loadu_ps(lane);
}

static inline vi magnitudes_of_halves(__m128i halves, enum phy_float_type type)
{
    halves = _mm_and_si128(halves, _mm_set1_epi16(0x7FFF));
    if (type == PHY_FLOAT_F16)
        return vf_bits(_mm256_cvtph_ps(halves));
    return _mm256_slli_epi32(_mm256_cvtepu16_epi32(halves), 16);
}

static inline vi load_magnitudes(const void *codes, enum phy_float_type type, size_t index, uint32_t count)
{
    const char *at = (const char *)codes + index * phy_float_bytes(type);
    uint32_t lane[LANES] = {0};
    if (count < LANES)
        at = memcpy(lane, at, count * phy_float_bytes(type));
    if (type == PHY_FLOAT_F32)
        return _mm256_and_si256(_mm256_loadu_si256((const __m256i *)at), vi_set(0x7FFFFFFFu));
    return magnitudes_of_halves(_mm_loadu_si128((const __m128i *)at), type);
}

static inline void clear_codes(void *codes, enum phy_float_type type, size_t index, uint32_t count, vm chosen)
{
    char *at = (char *)codes + index * phy_float_bytes(type);
    if (count < LANES) {
        unsigned lanes = (unsigned)_mm256_movemask_ps(_mm256_castsi256_ps(chosen));
        for (size_t i = 0; i < count; i++) {
            if (lanes >> i & 1)
                memset(at + i * phy_float_bytes(type), 0, phy_float_bytes(type));
        }
    } else if (type == PHY_FLOAT_F32) {
        __m256i words = _mm256_loadu_si256((const __m256i *)at);
        _mm256_storeu_si256((__m256i *)at, _mm256_andnot_si256(chosen, words));
    } else {
        __m128i halves = _mm_loadu_si128((const __m128i *)at);
        __m128i mask = _mm_packs_epi32(_mm256_castsi256_si128(chosen), _mm256_extracti128_si256(chosen, 1));
        _mm_storeu_si128((__m128i *)at, _mm_andnot_si128(mask, halves));
    }
}

static inline void totals_of_four(const vi *sums, uint32_t *totals)
{
    __m256i ab = _mm256_add_epi32(_mm256_unpacklo_epi32(sums[0], sums[1]), _mm256_unpackhi_epi32(sums[0], sums[1]));
    __m256i cd = _mm256_add_epi32(_mm256_unpacklo_epi32(sums[2], sums[3]), _mm256_unpackhi_epi32(sums[2], sums[3]));
    /* Each 128 bits now hold a b a b and c d c d. */
    __m256i abcd = _mm256_add_epi32(_mm256_unpacklo_epi64(ab, cd), _mm256_unpackhi_epi64(ab, cd));
    __m128i half = _mm_add_epi32(_mm256_castsi256_si128(abcd), _mm256_extracti128_si256(abcd, 1));
    _mm_storeu_si128((__m128i *)totals, half);
}

#include "kernels/flow_tile_simd.h"

void phy_flow_tile_avx2(const struct phy_flow_tile *tile, const struct phy_flow_params *params, void *scratch,
                        struct phy_flow_tile_result *result)
{
    run_tile(tile, params, scratch, result);
}
