/* SPDX-License-Identifier: Apache-2.0 */
/* What the AVX-512 VNNI products of few and of many rows of x share. */
#ifndef PHY_KERNELS_INT8_AVX512VNNI_H
#define PHY_KERNELS_INT8_AVX512VNNI_H

#include "kernels/block_unpack.h"
#include "kernels/int8_matmul_forms.h"
#include "kernels/vec_avx512.h"
#include "kernels/vec_math.h"

#define INT8_FORM(name) name##_avx512vnni

INLINE __m512i load64(const void *at)
{
    return _mm512_loadu_si512(at);
}

INLINE __m128i load16(const void *at)
{
    return _mm_loadu_si128(at);
}

/* 16 bytes at w[i] + at of four rows. */
INLINE __m512i load_four(const uint8_t *const w[4], size_t at)
{
    __m512i four = _mm512_castsi128_si512(load16(w[0] + at));
    four = _mm512_inserti32x4(four, load16(w[1] + at), 1);
    four = _mm512_inserti32x4(four, load16(w[2] + at), 2);
    return _mm512_inserti32x4(four, load16(w[3] + at), 3);
}

/* The first 16 bytes of a q4_K block in each 128 bits: its six-bit scales and minima (quant/k_scales.h), a byte each:
 * s0..7, m0..7. */
INLINE __m512i scales_q4_k(__m512i heads)
{
    const __m512i low_six = _mm512_set1_epi64(0x0F0F0F0F3F3F3F3F), high_two = _mm512_set1_epi64(0x3030303000000000);
    const __m512i shifts = _mm512_set_epi32(4, 0, 0, 0, 4, 0, 0, 0, 4, 0, 0, 0, 4, 0, 0, 0);
    const __m512i low = _mm512_srlv_epi32(_mm512_shuffle_epi32(heads, _MM_PERM_DCDB), shifts);
    const __m512i high = _mm512_srli_epi32(_mm512_shuffle_epi32(heads, _MM_PERM_CCBB), 2);
    /* (high & high_two) | (low & low_six) */
    return _mm512_ternarylogic_epi32(_mm512_and_si512(low, low_six), high, high_two, 0xF8);
}

/* Two blocks of q8_0, or one and zeros, their sign bits turned over: 128 more than the code. */
INLINE __m512i codes_q8_0(const uint8_t *w, bool both)
{
    const __m256i first = _mm256_loadu_si256((const __m256i *)(w + 2));
    const __m512i codes =
        both ? _mm512_inserti64x4(_mm512_castsi256_si512(first), _mm256_loadu_si256((const __m256i *)(w + 34 + 2)), 1)
             : _mm512_zextsi256_si512(first);
    return _mm512_xor_si512(codes, _mm512_set1_epi8((char)0x80));
}

#endif
