/* SPDX-License-Identifier: Apache-2.0 */
/* What the AVX2 and AVX-512 unpackers of blocks share. */
#ifndef PHY_KERNELS_BLOCK_UNPACK_H
#define PHY_KERNELS_BLOCK_UNPACK_H

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

#include "base/checked_math.h"
#include "quant/fp8.h"
#include "quant/small_float.h"
#include "quant/weight_type.h"

/* Elements that are unpacked at a time: every block has a whole number of them, floats count as blocks of 32. */
enum { GROUP = 32, MAX_BLOCK_ELEMENTS = 256 };

static inline size_t block_elements(enum phy_weight_type type)
{
    return type == PHY_WEIGHT_Q4_K || type == PHY_WEIGHT_Q6_K || type == PHY_WEIGHT_FP8 || type == PHY_WEIGHT_FP4
               ? MAX_BLOCK_ELEMENTS
               : GROUP;
}

static inline size_t block_bytes(enum phy_weight_type type)
{
    static const uint16_t bytes[PHY_WEIGHT_TYPE_COUNT] = {
        [PHY_WEIGHT_BF16] = 64, [PHY_WEIGHT_F16] = 64,   [PHY_WEIGHT_F32] = 128,  [PHY_WEIGHT_Q8_0] = 34,
        [PHY_WEIGHT_Q4_0] = 18, [PHY_WEIGHT_Q4_K] = 144, [PHY_WEIGHT_Q6_K] = 210, [PHY_WEIGHT_FP8] = 257,
        [PHY_WEIGHT_FP4] = 137, [PHY_WEIGHT_MXFP4] = 17,
    };
    return bytes[type];
}

/* Bytes from row to row. */
static inline size_t row_stride(enum phy_weight_type type, size_t cols)
{
    if (type < PHY_WEIGHT_FLOAT_COUNT)
        return cols * phy_weight_float_bytes(type);
    return (cols + block_elements(type) - 1) / block_elements(type) * block_bytes(type);
}

/* 2^(e - 128): a float32 subnormal for e = 0 and 1. */
static inline float mxfp4_scale(uint8_t e)
{
    return phy_float_of_bits(e < 2 ? 0x00200000u << e : (uint32_t)(e - 1) << 23);
}

/* q4_K's six-bit scales and minima (quant/k_scales.h), a byte each. With integer instructions: the units of the vector
 * ones are what the kernels run out of. */
static inline __attribute__((always_inline)) void q4_k_scale_bytes(const uint8_t *block, uint64_t *scales,
                                                                   uint64_t *minima)
{
    const uint64_t low_six = 0x3F3F3F3F3F3F3F3F, low_four = 0x0F0F0F0F, high_two = 0x3030303030303030;
    const uint64_t first = phy_load_u64(block + 4);                               /* s0..3 and m0..3 */
    const uint64_t last = phy_load_u32(block + 12), high = first >> 2 & high_two; /* of s4..7 and m4..7 */
    const uint64_t first_low = first & low_six;
    *scales = (uint32_t)first_low | ((last & low_four) | (uint32_t)high) << 32;
    *minima = first_low >> 32 | ((last >> 4 & low_four) | high >> 32) << 32;
}

/* Bytes s0..7, m0..7. */
static inline __attribute__((always_inline)) __m128i q4_k_scales(const uint8_t *block)
{
    uint64_t scales, minima;
    q4_k_scale_bytes(block, &scales, &minima);
    return _mm_set_epi64x((long long)minima, (long long)scales);
}

/* Codes 0 .. 63 of elements 32g .. 32g + 31, a byte each. */
static inline __attribute__((always_inline)) __m256i q6_k_raw_codes(const uint8_t *block, size_t g)
{
    const size_t half = g / 4, run = g % 4;
    const __m256i ql = _mm256_loadu_si256((const __m256i *)(block + 64 * half + 32 * (run % 2)));
    const __m256i qh = _mm256_loadu_si256((const __m256i *)(block + 128 + 32 * half));
    /* Two bits from place 2 run to place 4. */
    const __m256i high = run < 2 ? _mm256_slli_epi16(qh, run == 0 ? 4 : 2) : run == 2 ? qh : _mm256_srli_epi16(qh, 2);
    const __m256i low = run < 2 ? ql : _mm256_srli_epi16(ql, 4);
    return _mm256_or_si256(_mm256_and_si256(low, _mm256_set1_epi8(0x0F)),
                           _mm256_and_si256(high, _mm256_set1_epi8(0x30)));
}

/* The same, less 32. */
static inline __attribute__((always_inline)) __m256i q6_k_codes(const uint8_t *block, size_t g)
{
    return _mm256_sub_epi8(q6_k_raw_codes(block, g), _mm256_set1_epi8(32));
}

#endif
