/* SPDX-License-Identifier: Apache-2.0 */
/* q8_0: 0 d:f16, 2 q[32]:i8. -128 is legal. */
#include <assert.h>

#include "quant/quant_format.h"
#include "quant/small_float.h"

enum { D_AT = 0, Q_AT = 2, BLOCK_BYTES = 34, ELEMENTS = 32 };
static_assert(Q_AT + ELEMENTS == BLOCK_BYTES, "q8_0 block");

void phy_decode_q8_0(const uint8_t *from, size_t blocks, float *out)
{
    for (size_t i = 0; i < blocks; i++, from += BLOCK_BYTES, out += ELEMENTS) {
        const float d = phy_f16_load(from + D_AT);
        const uint8_t *q = from + Q_AT;
        for (int j = 0; j < ELEMENTS; j++)
            out[j] = (float)(int8_t)q[j] * d;
    }
}
