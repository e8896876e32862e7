/* SPDX-License-Identifier: Apache-2.0 */
/* iq4_nl: 0 d:f16, 2 qs[16]. Element j is the low nibble of qs[j], element j + 16 the high one. */
#include <assert.h>

#include "quant/iq4_nl.h"
#include "quant/quant_format.h"
#include "quant/small_float.h"

enum { D_AT = 0, QS_AT = 2, BLOCK_BYTES = 18, HALF = 16 };
static_assert(QS_AT + HALF == BLOCK_BYTES, "iq4_nl block");

void phy_decode_iq4_nl(const uint8_t *from, size_t blocks, float *out)
{
    for (size_t i = 0; i < blocks; i++, from += BLOCK_BYTES, out += 2 * HALF) {
        const float d = phy_f16_load(from + D_AT);
        const uint8_t *qs = from + QS_AT;
        for (int j = 0; j < HALF; j++) {
            out[j] = d * phy_iq4_values[qs[j] & 15];
            out[j + HALF] = d * phy_iq4_values[qs[j] >> 4];
        }
    }
}
