/* SPDX-License-Identifier: Apache-2.0 */
/* q2_K: 0 scales[16], 16 qs[64], 80 d:f16, 82 dmin:f16. Sixteen groups of 16: s and m are the nibbles of scales[g].
 *
 * Two-bit planes: bytes 32h..32h+31 of qs serve elements 128h..128h+127; element 128h + 32t + l is bits 2t..2t+1 of
 * byte 32h + l. A group is one half of such a run of 32. */
#include <assert.h>

#include "quant/quant_format.h"
#include "quant/small_float.h"

enum { SCALES_AT = 0, QS_AT = 16, D_AT = 80, MIN_AT = 82, BLOCK_BYTES = 84, GROUPS = 16, GROUP = 16 };
static_assert(QS_AT == SCALES_AT + GROUPS && D_AT == QS_AT + 64 && MIN_AT + 2 == BLOCK_BYTES, "q2_K block");

void phy_decode_q2_k(const uint8_t *from, size_t blocks, float *out)
{
    for (size_t i = 0; i < blocks; i++, from += BLOCK_BYTES) {
        const float d = phy_f16_load(from + D_AT), dmin = phy_f16_load(from + MIN_AT);
        for (int g = 0; g < GROUPS; g++, out += GROUP) {
            const uint8_t both = from[SCALES_AT + g];
            const float scale = d * (float)(both & 15), least = dmin * (float)(both >> 4);
            const uint8_t *qs = from + QS_AT + 32 * (g / 8) + GROUP * (g % 2);
            const int shift = 2 * (g % 8 / 2);
            for (int j = 0; j < GROUP; j++)
                out[j] = scale * (float)(qs[j] >> shift & 3) - least;
        }
    }
}
