/* SPDX-License-Identifier: Apache-2.0 */
/* vindex_fp8: 0 q[256]:e4m3, 256 block:e4m3. x = e4m3[q] * block; a block scale of zero decodes to +0. */
#include <assert.h>
#include <string.h>

#include "quant/fp8.h"
#include "quant/quant_format.h"

enum { Q_AT = 0, BLOCK_AT = 256, BLOCK_BYTES = 257, ELEMENTS = 256 };
static_assert(BLOCK_AT + 1 == BLOCK_BYTES, "vindex_fp8 block");

void phy_decode_vindex_fp8(const uint8_t *from, size_t blocks, float *out)
{
    for (size_t i = 0; i < blocks; i++, from += BLOCK_BYTES, out += ELEMENTS) {
        const float block = phy_e4m3_widen(from[BLOCK_AT]);
        for (int j = 0; j < ELEMENTS; j++)
            out[j] = block == 0 ? 0 : phy_e4m3_widen(from[Q_AT + j]) * block;
    }
}
