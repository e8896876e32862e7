/* SPDX-License-Identifier: Apache-2.0 */
/* q4_K: 0 d:f16, 2 dmin:f16, 4 scales[12], 16 qs[128]. Eight groups of 32: bytes 32r..32r+31 of qs hold group 2r in
 * their low nibbles and group 2r + 1 in their high ones. */
#include <assert.h>

#include "quant/k_scales.h"
#include "quant/quant_format.h"
#include "quant/small_float.h"

enum { D_AT = 0, MIN_AT = 2, SCALES_AT = 4, QS_AT = 16, BLOCK_BYTES = 144, GROUPS = 8, GROUP = 32 };
static_assert(SCALES_AT + 12 == QS_AT && QS_AT + GROUPS * GROUP / 2 == BLOCK_BYTES, "q4_K block");

void phy_decode_q4_k(const uint8_t *from, size_t blocks, float *out)
{
    for (size_t i = 0; i < blocks; i++, from += BLOCK_BYTES) {
        const float d = phy_f16_load(from + D_AT), dmin = phy_f16_load(from + MIN_AT);
        for (int g = 0; g < GROUPS; g++, out += GROUP) {
            const float scale = d * (float)phy_k_scale(from + SCALES_AT, g);
            const float least = dmin * (float)phy_k_minimum(from + SCALES_AT, g);
            const uint8_t *qs = from + QS_AT + GROUP * (g / 2);
            const int shift = 4 * (g % 2);
            for (int j = 0; j < GROUP; j++)
                out[j] = scale * (float)(qs[j] >> shift & 15) - least;
        }
    }
}
