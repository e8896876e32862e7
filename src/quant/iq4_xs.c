/* SPDX-License-Identifier: Apache-2.0 */
/* iq4_xs: 0 d:f16, 2 scales_h:u16, 4 scales_l[4], 8 qs[128]. Eight groups of 32, each laid out as in iq4_nl.
 *
 *   scale of group n = (nibble n of scales_l | bits 2n..2n+1 of scales_h << 4) - 32
 *
 * element = (d * scale) * table[q]: both products are exact. */
#include <assert.h>

#include "quant/iq4_nl.h"
#include "quant/quant_format.h"
#include "quant/small_float.h"

enum { D_AT = 0, HIGH_AT = 2, LOW_AT = 4, QS_AT = 8, BLOCK_BYTES = 136, GROUPS = 8, HALF = 16 };
static_assert(QS_AT + GROUPS * HALF == BLOCK_BYTES, "iq4_xs block");

void phy_decode_iq4_xs(const uint8_t *from, size_t blocks, float *out)
{
    for (size_t i = 0; i < blocks; i++, from += BLOCK_BYTES) {
        const float d = phy_f16_load(from + D_AT);
        const unsigned high = phy_load_u16(from + HIGH_AT);
        for (unsigned n = 0; n < GROUPS; n++, out += 2 * HALF) {
            const unsigned low = from[LOW_AT + n / 2] >> 4 * (n % 2) & 15u;
            const float scale = d * (float)((int)(low | (high >> 2 * n & 3u) << 4) - 32);
            const uint8_t *qs = from + QS_AT + n * HALF;
            for (int j = 0; j < HALF; j++) {
                out[j] = scale * phy_iq4_values[qs[j] & 15];
                out[j + HALF] = scale * phy_iq4_values[qs[j] >> 4];
            }
        }
    }
}
