/* SPDX-License-Identifier: Apache-2.0 */
/* q3_K: 0 hmask[32], 32 qs[64], 96 scales[12], 108 d:f16. Sixteen groups of 16.
 *
 * Two-bit planes as in q2_K. Element 32t + l (t = 0..7) is its two bits, less 4 unless bit t of hmask[l] is set.
 *
 *   scales   bytes 0-7   [7:4] s8..15 low four   [3:0] s0..7 low four
 *            bytes 8-11  [7:6] s12..15  [5:4] s8..11  [3:2] s4..7  [1:0] s0..3: high two
 *
 * and 32 is taken from each (tests/golden/test_quant_golden.c). */
#include <assert.h>

#include "quant/quant_format.h"
#include "quant/small_float.h"

enum { MASK_AT = 0, QS_AT = 32, SCALES_AT = 96, D_AT = 108, BLOCK_BYTES = 110, GROUPS = 16, GROUP = 16 };
static_assert(QS_AT + 64 == SCALES_AT && SCALES_AT + 12 == D_AT && D_AT + 2 == BLOCK_BYTES, "q3_K block");

static int scale_of(const uint8_t *scales, int n)
{
    const int low = n < 8 ? scales[n] & 15 : scales[n - 8] >> 4;
    const int high = scales[8 + n % 4] >> 2 * (n / 4) & 3;
    return (low | high << 4) - 32;
}

void phy_decode_q3_k(const uint8_t *from, size_t blocks, float *out)
{
    for (size_t i = 0; i < blocks; i++, from += BLOCK_BYTES) {
        const float d = phy_f16_load(from + D_AT);
        for (int g = 0; g < GROUPS; g++, out += GROUP) {
            const float scale = d * (float)scale_of(from + SCALES_AT, g);
            const uint8_t *qs = from + QS_AT + 32 * (g / 8) + GROUP * (g % 2);
            const uint8_t *mask = from + MASK_AT + GROUP * (g % 2);
            const int shift = 2 * (g % 8 / 2), bit = g / 2;
            for (int j = 0; j < GROUP; j++)
                out[j] = scale * (float)((qs[j] >> shift & 3) + ((mask[j] >> bit & 1) << 2) - 4);
        }
    }
}
