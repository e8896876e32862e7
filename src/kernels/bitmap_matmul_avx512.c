/* SPDX-License-Identifier: Apache-2.0 */
#include "kernels/bitmap_expand_avx512.h"
#include "kernels/bitmap_matmul_forms.h"
#include "kernels/vec_math.h"

INLINE void expand(enum phy_weight_type type, uint64_t word, const uint8_t *values, vec out[4])
{
    UNROLL
    for (unsigned v = 0; v < 4; v++)
        out[v] = expand_16(type, word >> 16 * v, values + values_before(word, 16 * v) * phy_weight_float_bytes(type));
}

#include "kernels/bitmap_matmul_simd.h"
