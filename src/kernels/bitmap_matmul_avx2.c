/* SPDX-License-Identifier: Apache-2.0 */
/* AVX2 has no instruction that spreads: a permutation from a table of 256 does. */
#include "kernels/bitmap_matmul_forms.h"
#include "kernels/vec_avx2.h"
#include "kernels/vec_math.h"

enum { SUMS = 2 };

/* Byte l of entry m: which packed value lane l takes, the number of bits of m below l; its sign says that lane l takes
 * one. */
#define LANE(m, l)                                                                                                     \
    ((uint64_t)((unsigned)__builtin_popcount((unsigned)(m) & ((1u << (l)) - 1)) | ((unsigned)(m) >> (l)&1) << 7)       \
     << 8 * (l))
#define ENTRY(m) (LANE(m, 0) | LANE(m, 1) | LANE(m, 2) | LANE(m, 3) | LANE(m, 4) | LANE(m, 5) | LANE(m, 6) | LANE(m, 7))
#define ENTRIES_4(m) ENTRY(m), ENTRY(m + 1), ENTRY(m + 2), ENTRY(m + 3)
#define ENTRIES_16(m) ENTRIES_4(m), ENTRIES_4(m + 4), ENTRIES_4(m + 8), ENTRIES_4(m + 12)
#define ENTRIES_64(m) ENTRIES_16(m), ENTRIES_16(m + 16), ENTRIES_16(m + 32), ENTRIES_16(m + 48)
static const uint64_t lanes_of[256] = {ENTRIES_64(0), ENTRIES_64(64), ENTRIES_64(128), ENTRIES_64(192)};

INLINE vec expand_8(enum phy_weight_type type, unsigned bits, const uint8_t *values)
{
    const vec packed = type == PHY_WEIGHT_BF16  ? vec_widen_bf16((const uint16_t *)(const void *)values)
                       : type == PHY_WEIGHT_F16 ? vec_widen_f16((const uint16_t *)(const void *)values)
                                                : vec_load((const float *)(const void *)values);
    const __m256i lanes = _mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)&lanes_of[bits]));
    return _mm256_blendv_ps(vec_zero(), _mm256_permutevar8x32_ps(packed, lanes), _mm256_castsi256_ps(lanes));
}

INLINE void expand(enum phy_weight_type type, uint64_t word, const uint8_t *values, vec out[8])
{
    UNROLL
    for (unsigned v = 0; v < 8; v++)
        out[v] = expand_8(type, (unsigned)(word >> 8 * v & 255),
                          values + phy_bitmap_values_before(word, 8 * v) * phy_weight_float_bytes(type));
}

#include "kernels/bitmap_matmul_simd.h"
