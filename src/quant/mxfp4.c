/* SPDX-License-Identifier: Apache-2.0 */
/* mxfp4: 0 e:u8, 1 qs[16]. Element j is the low nibble of qs[j], element j + 16 the high one. */
#include <assert.h>

#include "quant/quant_format.h"
#include "quant/small_float.h"

enum { E_AT = 0, QS_AT = 1, BLOCK_BYTES = 17, HALF = 16 };
static_assert(QS_AT + HALF == BLOCK_BYTES, "mxfp4 block");

/* Twice the e2m1 values; code 8 is +0, not -0. */
static const float values[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

/* 2^(e - 128): a float32 subnormal for e = 0 and 1. */
static float scale_of(uint8_t e)
{
    return phy_float_of_bits(e < 2 ? 0x00200000u << e : (uint32_t)(e - 1) << 23);
}

void phy_decode_mxfp4(const uint8_t *from, size_t blocks, float *out)
{
    for (size_t i = 0; i < blocks; i++, from += BLOCK_BYTES, out += 2 * HALF) {
        const float scale = scale_of(from[E_AT]);
        const uint8_t *qs = from + QS_AT;
        for (int j = 0; j < HALF; j++) {
            out[j] = values[qs[j] & 15] * scale;
            out[j + HALF] = values[qs[j] >> 4] * scale;
        }
    }
}
