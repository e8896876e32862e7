/* SPDX-License-Identifier: Apache-2.0 */
/* 16 weights of a bitmap in AVX-512: values are widened where they lie, then spread to the lanes whose bits are set.
 * VBMI2's vpexpandw would spread 32 codes before they are widened: on a Zen 4 that took 1.75 times as long (3.0 ms for
 * 10240 x 2560 against 1.7), and AVX-512 F has all that this needs. */
#include "kernels/bitmap_matmul_forms.h"
#include "kernels/vec_avx512.h"
#include "kernels/vec_math.h"

enum { SUMS = 4 }; /* chains of additions for each row of x: as many as vectors of a word */

/* A spread whose source is memory is microcoded on some processors, and compilers fold the load into it. */
#define HOLD_IN_REGISTER(v) __asm__("" : "+v"(v))

INLINE vec expand_16(enum phy_weight_type type, uint64_t bits, const uint8_t *values)
{
    vec packed = type == PHY_WEIGHT_BF16  ? vec_widen_bf16((const uint16_t *)(const void *)values)
                 : type == PHY_WEIGHT_F16 ? vec_widen_f16((const uint16_t *)(const void *)values)
                                          : vec_load((const float *)(const void *)values);
    HOLD_IN_REGISTER(packed);
    return _mm512_maskz_expand_ps((__mmask16)bits, packed);
}

INLINE void expand(enum phy_weight_type type, uint64_t word, const uint8_t *values, vec out[4])
{
    UNROLL
    for (unsigned v = 0; v < 4; v++)
        out[v] = expand_16(type, word >> 16 * v,
                           values + phy_bitmap_values_before(word, 16 * v) * phy_weight_float_bytes(type));
}

#include "kernels/bitmap_matmul_simd.h"
