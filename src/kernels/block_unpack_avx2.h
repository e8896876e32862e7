/* SPDX-License-Identifier: Apache-2.0 */
/* Blocks of every weight format to float32, 32 elements at a time, in AVX2. What the bytes mean is drawn in
 * quant/<format>.c. Values are the decoders', bit for bit but for the sign of zeros: products that docs/quant.md calls
 * exact may be formed in another order. The half-float conversion is exact for subnormals in every mode. */
#ifndef PHY_KERNELS_BLOCK_UNPACK_AVX2_H
#define PHY_KERNELS_BLOCK_UNPACK_AVX2_H

#include <string.h>

#include "kernels/block_unpack.h"
#include "kernels/vec_avx2.h"
#include "kernels/vec_math.h"

enum { GROUP_VECS = GROUP / LANES };

/* What a block's elements are multiplied with, ready to be broadcast. */
struct scales {
    vec all;        /* formats of one scale */
    float each[16]; /* of each 32 elements, or of each 16 (q6_K); q4_K: from 8 on what is subtracted */
    __m256i keep;   /* vindex_fp8: bits of the widened codes that count */
};

/* A load that broadcasts costs nothing but the load; left to itself the compiler keeps the vector in a register and
 * shuffles a scale out of it, with units that the codes need. */
#define HOLD_IN_MEMORY(array) __asm__("" : "+m"(array))

static inline vec half_everywhere(const uint8_t *at)
{
    return _mm256_cvtph_ps(_mm_set1_epi16((short)phy_load_u16(at)));
}

INLINE void load_scales_q4_k(const uint8_t *block, struct scales *s)
{
    const __m128i codes = q4_k_scales(block);
    vec_store(s->each, vec_mul(_mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(codes)), half_everywhere(block)));
    vec_store(s->each + 8,
              vec_mul(_mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_srli_si128(codes, 8))), half_everywhere(block + 2)));
    HOLD_IN_MEMORY(s->each);
}

INLINE void load_scales_q6_k(const uint8_t *block, struct scales *s)
{
    const __m128i codes = _mm_loadu_si128((const __m128i *)(block + 192));
    const vec d = half_everywhere(block + 208);
    vec_store(s->each, vec_mul(_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(codes)), d));
    vec_store(s->each + 8, vec_mul(_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_srli_si128(codes, 8))), d));
    HOLD_IN_MEMORY(s->each);
}

/* e4m3 codes in words, sign-extended, to binary16: the value times 2^-8; NaN where the code is one. A code's exponent
 * and mantissa have their places in binary16 seven bits higher, and its subnormals are binary16's. */
INLINE __m256i half_of_e4m3(__m256i words, __m256i keep)
{
    const __m256i half = _mm256_and_si256(_mm256_slli_epi16(words, 7), keep), nan = _mm256_set1_epi16(0x3F80);
    const __m256i is_nan = _mm256_cmpeq_epi16(_mm256_and_si256(half, nan), nan);
    return _mm256_or_si256(half, _mm256_and_si256(is_nan, _mm256_set1_epi16(0x7E00)));
}

INLINE void load_scales_fp8(const uint8_t *block, struct scales *s)
{
    const float scale = phy_e4m3_widen(block[256]);
    s->keep = _mm256_set1_epi16(scale == 0 ? 0 : (short)0xBF80);
    s->all = vec_set1(scale * 256);
}

INLINE void load_scales_fp4(const uint8_t *block, struct scales *s)
{
    const float scale = phy_e4m3_widen(block[136]);
    const __m256i words = _mm256_castsi128_si256(_mm_cvtepi8_epi16(_mm_loadl_epi64((const __m128i *)(block + 128))));
    const vec sub = _mm256_cvtph_ps(_mm256_castsi256_si128(half_of_e4m3(words, _mm256_set1_epi16((short)0xBF80))));
    const vec sixth = vec_div(vec_mul(sub, vec_set1(scale * 256)), vec_set1(6));
    vec_store(s->each, scale == 0 ? vec_zero() : sixth);
    HOLD_IN_MEMORY(s->each);
}

INLINE void load_scales(enum phy_weight_type type, const uint8_t *block, struct scales *s)
{
    switch (type) {
    case PHY_WEIGHT_Q8_0:
    case PHY_WEIGHT_Q4_0:
        s->all = half_everywhere(block);
        break;
    case PHY_WEIGHT_Q4_K:
        load_scales_q4_k(block, s);
        break;
    case PHY_WEIGHT_Q6_K:
        load_scales_q6_k(block, s);
        break;
    case PHY_WEIGHT_FP8:
        load_scales_fp8(block, s);
        break;
    case PHY_WEIGHT_FP4:
        load_scales_fp4(block, s);
        break;
    case PHY_WEIGHT_MXFP4:
        s->all = vec_set1(mxfp4_scale(block[0]));
        break;
    default:
        break;
    }
}

/* 16 signed bytes, times a scale. */
INLINE void widen_bytes(__m128i bytes, vec scale, vec w[2])
{
    w[0] = vec_mul(_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes)), scale);
    w[1] = vec_mul(_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_srli_si128(bytes, 8))), scale);
}

/* 16 bytes of codes, to what each nibble stands for in `table`: the low ones, and the high ones. */
INLINE void look_up(const uint8_t *codes, __m128i table, __m128i *low, __m128i *high)
{
    const __m128i pairs = _mm_loadu_si128((const __m128i *)codes), nibble = _mm_set1_epi8(0x0F);
    *low = _mm_shuffle_epi8(table, _mm_and_si128(pairs, nibble));
    *high = _mm_shuffle_epi8(table, _mm_and_si128(_mm_srli_epi16(pairs, 4), nibble));
}

INLINE void unpack_halves(const uint8_t *codes, __m128i table, vec scale, vec w[GROUP_VECS])
{
    __m128i low, high;
    look_up(codes, table, &low, &high);
    widen_bytes(low, scale, w);
    widen_bytes(high, scale, w + 2);
}

INLINE void unpack_neighbours(const uint8_t *codes, __m128i table, vec scale, vec w[GROUP_VECS])
{
    __m128i low, high;
    look_up(codes, table, &low, &high);
    widen_bytes(_mm_unpacklo_epi8(low, high), scale, w);
    widen_bytes(_mm_unpackhi_epi8(low, high), scale, w + 2);
}

INLINE void unpack_q4_k(const uint8_t *block, const struct scales *s, size_t g, vec w[GROUP_VECS])
{
    const vec scale = vec_set1(s->each[g]), least = vec_set1((s->each + 8)[g]);
    __m256i qs = _mm256_loadu_si256((const __m256i *)(block + 16 + 32 * (g / 2)));
    qs = _mm256_and_si256(g % 2 ? _mm256_srli_epi16(qs, 4) : qs, _mm256_set1_epi8(0x0F));
    const __m128i halves[2] = {_mm256_castsi256_si128(qs), _mm256_extracti128_si256(qs, 1)};
    UNROLL
    for (size_t i = 0; i < 2; i++) {
        const __m256i first = _mm256_cvtepu8_epi32(halves[i]);
        const __m256i second = _mm256_cvtepu8_epi32(_mm_srli_si128(halves[i], 8));
        w[2 * i] = _mm256_fmsub_ps(_mm256_cvtepi32_ps(first), scale, least);
        w[2 * i + 1] = _mm256_fmsub_ps(_mm256_cvtepi32_ps(second), scale, least);
    }
}

INLINE void unpack_q6_k(const uint8_t *block, const struct scales *s, size_t g, vec w[GROUP_VECS])
{
    const __m256i q = q6_k_codes(block, g);
    widen_bytes(_mm256_castsi256_si128(q), vec_set1(s->each[2 * g]), w);
    widen_bytes(_mm256_extracti128_si256(q, 1), vec_set1(s->each[2 * g + 1]), w + 2);
}

INLINE void unpack_fp8(const uint8_t *block, const struct scales *s, size_t g, vec w[GROUP_VECS])
{
    UNROLL
    for (size_t i = 0; i < 2; i++) {
        const __m128i codes = _mm_loadu_si128((const __m128i *)(block + GROUP * g + 16 * i));
        const __m256i half = half_of_e4m3(_mm256_cvtepi8_epi16(codes), s->keep);
        w[2 * i] = vec_mul(_mm256_cvtph_ps(_mm256_castsi256_si128(half)), s->all);
        w[2 * i + 1] = vec_mul(_mm256_cvtph_ps(_mm256_extracti128_si256(half, 1)), s->all);
    }
}

/* Elements GROUP * g .. of a block; g is a constant where this is inlined. */
INLINE void unpack(enum phy_weight_type type, const uint8_t *block, const struct scales *s, size_t g, vec w[GROUP_VECS])
{
    const __m128i eights = _mm_set_epi8(7, 6, 5, 4, 3, 2, 1, 0, -1, -2, -3, -4, -5, -6, -7, -8);
    const __m128i twice_e2m1 = _mm_set_epi8(-12, -8, -6, -4, -3, -2, -1, 0, 12, 8, 6, 4, 3, 2, 1, 0);
    switch (type) {
    case PHY_WEIGHT_BF16:
        UNROLL
        for (size_t i = 0; i < GROUP_VECS; i++)
            w[i] = vec_widen_bf16((const uint16_t *)(const void *)block + i * LANES);
        break;
    case PHY_WEIGHT_F16:
        UNROLL
        for (size_t i = 0; i < GROUP_VECS; i++)
            w[i] = vec_widen_f16((const uint16_t *)(const void *)block + i * LANES);
        break;
    case PHY_WEIGHT_F32:
        UNROLL
        for (size_t i = 0; i < GROUP_VECS; i++)
            w[i] = vec_load((const void *)(block + i * LANES * sizeof(float)));
        break;
    case PHY_WEIGHT_Q8_0:
        widen_bytes(_mm_loadu_si128((const __m128i *)(block + 2)), s->all, w);
        widen_bytes(_mm_loadu_si128((const __m128i *)(block + 18)), s->all, w + 2);
        break;
    case PHY_WEIGHT_Q4_0:
        unpack_halves(block + 2, eights, s->all, w);
        break;
    case PHY_WEIGHT_MXFP4:
        unpack_halves(block + 1, twice_e2m1, s->all, w);
        break;
    case PHY_WEIGHT_FP4: /* halving a scale is exact: none is subnormal */
        unpack_neighbours(block + 16 * g, twice_e2m1, vec_set1(0.5f * s->each[g]), w);
        break;
    case PHY_WEIGHT_Q4_K:
        unpack_q4_k(block, s, g, w);
        break;
    case PHY_WEIGHT_Q6_K:
        unpack_q6_k(block, s, g, w);
        break;
    case PHY_WEIGHT_FP8:
        unpack_fp8(block, s, g, w);
        break;
    default:
        break;
    }
}

#endif
