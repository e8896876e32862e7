/* SPDX-License-Identifier: Apache-2.0 */
/* Blocks of every weight format to float32, 32 elements at a time, in AVX-512. What the bytes mean is drawn in
 * quant/<format>.c. Values are the decoders', bit for bit but for the sign of zeros: products that docs/quant.md calls
 * exact may be formed in another order. The half-float conversion is exact for subnormals in every mode.
 *
 * Four-bit formats: vpermps reads the low four bits of each index, so that a code picks its decoded value from a table
 * of 16 and needs no mask. */
#ifndef PHY_KERNELS_BLOCK_UNPACK_AVX512_H
#define PHY_KERNELS_BLOCK_UNPACK_AVX512_H

#include <string.h>

#include "kernels/block_unpack.h"
#include "kernels/vec_avx512.h"
#include "kernels/vec_math.h"

enum { GROUP_VECS = GROUP / LANES };

/* What a block's elements are multiplied with, ready to be broadcast. */
struct scales {
    vec all;        /* formats of one scale */
    float each[16]; /* of each 32 elements, or of each 16 (q6_K); q4_K: from 8 on what is subtracted */
    __m512i keep;   /* vindex_fp8: bits of the widened codes that count */
};

/* A load that broadcasts costs nothing but the load; left to itself the compiler keeps the vector in a register and
 * shuffles a scale out of it, with units that the codes need. */
#define HOLD_IN_MEMORY(array) __asm__("" : "+m"(array))

static inline vec half_everywhere(const uint8_t *at)
{
    return _mm512_cvtph_ps(_mm256_set1_epi16((short)phy_load_u16(at)));
}

INLINE void load_scales_q4_k(const uint8_t *block, struct scales *s)
{
    const __m512i codes = _mm512_cvtepu8_epi32(q4_k_scales(block));
    const __m256i halves = _mm256_shuffle_epi8(
        _mm256_set1_epi32((int)phy_load_u32(block)),
        _mm256_set_epi64x(0x0302030203020302, 0x0302030203020302, 0x0100010001000100, 0x0100010001000100));
    vec_store(s->each, vec_mul(_mm512_cvtepi32_ps(codes), _mm512_cvtph_ps(halves))); /* d x 8, dmin x 8 */
    HOLD_IN_MEMORY(s->each);
}

INLINE void load_scales_q6_k(const uint8_t *block, struct scales *s)
{
    const __m512i codes = _mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)(block + 192)));
    vec_store(s->each, vec_mul(_mm512_cvtepi32_ps(codes), half_everywhere(block + 208)));
    HOLD_IN_MEMORY(s->each);
}

/* e4m3 codes in words, sign-extended, to binary16: the value times 2^-8; NaN where the code is one. A code's exponent
 * and mantissa have their places in binary16 seven bits higher, and its subnormals are binary16's. */
INLINE __m512i half_of_e4m3(__m512i words, __m512i keep)
{
    const __m512i half = _mm512_and_si512(_mm512_slli_epi16(words, 7), keep), nan = _mm512_set1_epi16(0x3F80);
    return _mm512_mask_mov_epi16(half, _mm512_cmpeq_epi16_mask(_mm512_and_si512(half, nan), nan),
                                 _mm512_set1_epi16(0x7E00));
}

INLINE void load_scales_fp8(const uint8_t *block, struct scales *s)
{
    const float scale = phy_e4m3_widen(block[256]);
    s->keep = _mm512_set1_epi16(scale == 0 ? 0 : (short)0xBF80);
    s->all = vec_set1(scale * 256);
}

INLINE void load_scales_fp4(const uint8_t *block, struct scales *s)
{
    const float scale = phy_e4m3_widen(block[136]);
    const __m512i words = _mm512_castsi128_si512(_mm_cvtepi8_epi16(_mm_loadl_epi64((const __m128i *)(block + 128))));
    const __m256 sub = _mm256_cvtph_ps(_mm512_castsi512_si128(half_of_e4m3(words, _mm512_set1_epi16((short)0xBF80))));
    const __m256 sixth = _mm256_div_ps(_mm256_mul_ps(sub, _mm256_set1_ps(scale * 256)), _mm256_set1_ps(6));
    _mm256_storeu_ps(s->each, scale == 0 ? _mm256_setzero_ps() : sixth);
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

/* Bytes 0..15 and 16..31 in dwords. */
INLINE __m512i bytes_in_dwords(const uint8_t *at)
{
    return _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)at));
}

/* 16 bytes of codes in halves: low nibbles first. */
INLINE void look_up_halves(const uint8_t *codes, vec table, vec w[GROUP_VECS])
{
    const __m512i pairs = bytes_in_dwords(codes);
    w[0] = _mm512_permutexvar_ps(pairs, table);
    w[1] = _mm512_permutexvar_ps(_mm512_srli_epi32(pairs, 4), table);
}

/* 16 bytes of codes of neighbours. */
INLINE void look_up_neighbours(const uint8_t *codes, vec table, vec w[GROUP_VECS])
{
    const __m128i low = _mm_loadu_si128((const __m128i *)codes), high = _mm_srli_epi16(low, 4);
    w[0] = _mm512_permutexvar_ps(_mm512_cvtepu8_epi32(_mm_unpacklo_epi8(low, high)), table);
    w[1] = _mm512_permutexvar_ps(_mm512_cvtepu8_epi32(_mm_unpackhi_epi8(low, high)), table);
}

INLINE void widen_bytes(__m128i low, __m128i high, vec scale_low, vec scale_high, vec w[GROUP_VECS])
{
    w[0] = vec_mul(_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(low)), scale_low);
    w[1] = vec_mul(_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(high)), scale_high);
}

INLINE void unpack_q4_k(const uint8_t *block, const struct scales *s, size_t g, vec w[GROUP_VECS])
{
    const vec code = _mm512_set_ps(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
    const vec table = _mm512_fmsub_ps(code, vec_set1(s->each[g]), vec_set1((s->each + 8)[g]));
    const uint8_t *qs = block + 16 + 32 * (g / 2);
    const __m512i first = bytes_in_dwords(qs), second = bytes_in_dwords(qs + 16);
    w[0] = _mm512_permutexvar_ps(g % 2 ? _mm512_srli_epi32(first, 4) : first, table);
    w[1] = _mm512_permutexvar_ps(g % 2 ? _mm512_srli_epi32(second, 4) : second, table);
}

INLINE void unpack_q6_k(const uint8_t *block, const struct scales *s, size_t g, vec w[GROUP_VECS])
{
    const __m256i q = q6_k_codes(block, g);
    widen_bytes(_mm256_castsi256_si128(q), _mm256_extracti128_si256(q, 1), vec_set1(s->each[2 * g]),
                vec_set1(s->each[2 * g + 1]), w);
}

INLINE void unpack_fp8(const uint8_t *block, const struct scales *s, size_t g, vec w[GROUP_VECS])
{
    const __m512i words = _mm512_cvtepi8_epi16(_mm256_loadu_si256((const __m256i *)(block + GROUP * g)));
    const __m512i half = half_of_e4m3(words, s->keep);
    w[0] = vec_mul(_mm512_cvtph_ps(_mm512_castsi512_si256(half)), s->all);
    w[1] = vec_mul(_mm512_cvtph_ps(_mm512_extracti64x4_epi64(half, 1)), s->all);
}

/* Elements GROUP * g .. of a block; g is a constant where this is inlined. */
INLINE void unpack(enum phy_weight_type type, const uint8_t *block, const struct scales *s, size_t g, vec w[GROUP_VECS])
{
    const vec eights = _mm512_set_ps(7, 6, 5, 4, 3, 2, 1, 0, -1, -2, -3, -4, -5, -6, -7, -8);
    const vec twice_e2m1 = _mm512_set_ps(-12, -8, -6, -4, -3, -2, -1, 0, 12, 8, 6, 4, 3, 2, 1, 0);
    switch (type) {
    case PHY_WEIGHT_BF16:
        w[0] = vec_widen_bf16((const uint16_t *)(const void *)block);
        w[1] = vec_widen_bf16((const uint16_t *)(const void *)block + LANES);
        break;
    case PHY_WEIGHT_F16:
        w[0] = vec_widen_f16((const uint16_t *)(const void *)block);
        w[1] = vec_widen_f16((const uint16_t *)(const void *)block + LANES);
        break;
    case PHY_WEIGHT_F32:
        w[0] = vec_load((const void *)block);
        w[1] = vec_load((const void *)(block + LANES * sizeof(float)));
        break;
    case PHY_WEIGHT_Q8_0:
        widen_bytes(_mm_loadu_si128((const __m128i *)(block + 2)), _mm_loadu_si128((const __m128i *)(block + 18)),
                    s->all, s->all, w);
        break;
    case PHY_WEIGHT_Q4_0:
        look_up_halves(block + 2, vec_mul(eights, s->all), w);
        break;
    case PHY_WEIGHT_MXFP4:
        look_up_halves(block + 1, vec_mul(twice_e2m1, s->all), w);
        break;
    case PHY_WEIGHT_FP4: /* halving a scale is exact: none is subnormal */
        look_up_neighbours(block + 16 * g, vec_mul(twice_e2m1, vec_set1(0.5f * s->each[g])), w);
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
