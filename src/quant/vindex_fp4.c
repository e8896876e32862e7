/* SPDX-License-Identifier: Apache-2.0 */
/* vindex_fp4: 0 qs[128], 128 sub[8]:e4m3, 136 block:e4m3. Element 2i is the low nibble of qs[i], 2i + 1 the high one;
 * sub[n] covers elements 32n .. 32n + 31.
 *
 *   x = e2m1[q] * ((sub * block) / 6)
 *
 * sub * block is exact, the division rounds once. A block scale of zero decodes to +0. */
#include <assert.h>

#include "quant/fp8.h"
#include "quant/quant_format.h"

enum { QS_AT = 0, SUB_AT = 128, BLOCK_AT = 136, BLOCK_BYTES = 137, ELEMENTS = 256, SUB_ELEMENTS = 32 };
static_assert(BLOCK_AT + 1 == BLOCK_BYTES, "vindex_fp4 block");

void phy_decode_vindex_fp4(const uint8_t *from, size_t blocks, float *out)
{
    for (size_t i = 0; i < blocks; i++, from += BLOCK_BYTES, out += ELEMENTS) {
        const float block = phy_e4m3_widen(from[BLOCK_AT]);
        for (int n = 0; n < ELEMENTS / SUB_ELEMENTS; n++) {
            const float scale = phy_e4m3_widen(from[SUB_AT + n]) * block / 6;
            const uint8_t *qs = from + QS_AT + n * (SUB_ELEMENTS / 2);
            float *values = out + (size_t)n * SUB_ELEMENTS;
            for (int j = 0; j < SUB_ELEMENTS / 2; j++) {
                values[2 * j] = block == 0 ? 0 : phy_e2m1_values[qs[j] & 15] * scale;
                values[2 * j + 1] = block == 0 ? 0 : phy_e2m1_values[qs[j] >> 4] * scale;
            }
        }
    }
}
