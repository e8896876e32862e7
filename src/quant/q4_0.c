/* SPDX-License-Identifier: Apache-2.0 */
/* q4_0: 0 d:f16, 2 qs[16]. Element j is the low nibble of qs[j], element j + 16 the high one. */
#include <assert.h>

#include "quant/quant_format.h"
#include "quant/small_float.h"

enum { D_AT = 0, QS_AT = 2, BLOCK_BYTES = 18, HALF = 16 };
static_assert(QS_AT + HALF == BLOCK_BYTES, "q4_0 block");

void phy_decode_q4_0(const uint8_t *from, size_t blocks, float *out)
{
    for (size_t i = 0; i < blocks; i++, from += BLOCK_BYTES, out += 2 * HALF) {
        const float d = phy_f16_load(from + D_AT);
        const uint8_t *qs = from + QS_AT;
        /* (q - 8) * d and not q*d - 8*d: they differ in the sign of zeros. */
        for (int j = 0; j < HALF; j++)
            out[j] = (float)((qs[j] & 15) - 8) * d;
        for (int j = 0; j < HALF; j++)
            out[j + HALF] = (float)((qs[j] >> 4) - 8) * d;
    }
}
