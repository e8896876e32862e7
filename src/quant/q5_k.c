/* SPDX-License-Identifier: Apache-2.0 */
/* q5_K: 0 d:f16, 2 dmin:f16, 4 scales[12], 16 qh[32], 48 qs[128]. As q4_K; bit 4 of element 32t + l is bit t of qh[l].
 */
#include <assert.h>

#include "quant/k_scales.h"
#include "quant/quant_format.h"
#include "quant/small_float.h"

enum { D_AT = 0, MIN_AT = 2, SCALES_AT = 4, QH_AT = 16, QS_AT = 48, BLOCK_BYTES = 176, GROUPS = 8, GROUP = 32 };
static_assert(SCALES_AT + 12 == QH_AT && QH_AT + GROUP == QS_AT && QS_AT + GROUPS * GROUP / 2 == BLOCK_BYTES,
              "q5_K block");

void phy_decode_q5_k(const uint8_t *from, size_t blocks, float *out)
{
    for (size_t i = 0; i < blocks; i++, from += BLOCK_BYTES) {
        const float d = phy_f16_load(from + D_AT), dmin = phy_f16_load(from + MIN_AT);
        const uint8_t *qh = from + QH_AT;
        for (int g = 0; g < GROUPS; g++, out += GROUP) {
            const float scale = d * (float)phy_k_scale(from + SCALES_AT, g);
            const float least = dmin * (float)phy_k_minimum(from + SCALES_AT, g);
            const uint8_t *qs = from + QS_AT + GROUP * (g / 2);
            const int shift = 4 * (g % 2);
            for (int j = 0; j < GROUP; j++)
                out[j] = scale * (float)((qs[j] >> shift & 15) + ((qh[j] >> g & 1) << 4)) - least;
        }
    }
}
