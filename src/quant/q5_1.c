/* SPDX-License-Identifier: Apache-2.0 */
/* q5_1: 0 d:f16, 2 m:f16, 4 qh:u32, 8 qs[16]. Element j is the low nibble of qs[j], element j + 16 the high one; bit 4
 * of element n is bit n of qh. */
#include <assert.h>

#include "quant/quant_format.h"
#include "quant/small_float.h"

enum { D_AT = 0, M_AT = 2, QH_AT = 4, QS_AT = 8, BLOCK_BYTES = 24, HALF = 16 };
static_assert(QS_AT + HALF == BLOCK_BYTES, "q5_1 block");

void phy_decode_q5_1(const uint8_t *from, size_t blocks, float *out)
{
    for (size_t i = 0; i < blocks; i++, from += BLOCK_BYTES, out += 2 * HALF) {
        const float d = phy_f16_load(from + D_AT), m = phy_f16_load(from + M_AT);
        const uint32_t qh = phy_load_u32(from + QH_AT);
        const uint8_t *qs = from + QS_AT;
        for (int j = 0; j < HALF; j++)
            out[j] = (float)((int)(qs[j] & 15u) + (int)((qh >> j & 1u) << 4)) * d + m;
        for (int j = 0; j < HALF; j++)
            out[j + HALF] = (float)((qs[j] >> 4) + (int)((qh >> (j + HALF) & 1u) << 4)) * d + m;
    }
}
