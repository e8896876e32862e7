/* SPDX-License-Identifier: Apache-2.0 */
/* As AVX-512's, but codes of 16 bits are spread 32 at a time, before they are widened. */
#include "kernels/bitmap_expand_avx512.h"
#include "kernels/bitmap_matmul_forms.h"
#include "kernels/vec_math.h"

#undef FORM
#define FORM(name) name##_avx512vbmi2

INLINE vec widen(enum phy_weight_type type, __m256i codes)
{
    return type == PHY_WEIGHT_F16 ? _mm512_cvtph_ps(codes)
                                  : _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(codes), 16));
}

INLINE void expand(enum phy_weight_type type, uint64_t word, const uint8_t *values, vec out[4])
{
    UNROLL
    for (unsigned v = 0; v < 4 && type == PHY_WEIGHT_F32; v++)
        out[v] = expand_16(type, word >> 16 * v, values + values_before(word, 16 * v) * 4);
    UNROLL
    for (unsigned h = 0; h < 2 && type != PHY_WEIGHT_F32; h++) {
        const __m512i packed = _mm512_loadu_si512(values + values_before(word, 32 * h) * 2);
        const __m512i codes = _mm512_maskz_expand_epi16((__mmask32)(word >> 32 * h), packed);
        out[2 * h] = widen(type, _mm512_castsi512_si256(codes));
        out[2 * h + 1] = widen(type, _mm512_extracti64x4_epi64(codes, 1));
    }
}

#include "kernels/bitmap_matmul_simd.h"
