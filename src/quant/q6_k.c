/* SPDX-License-Identifier: Apache-2.0 */
/* q6_K: 0 ql[128], 128 qh[64], 192 scales[16]:i8, 208 d:f16. Sixteen groups of 16 with signed scales; q is six bits
 * less 32.
 *
 * Low nibbles: bytes 64h..64h+63 of ql serve elements 128h..128h+127: element 128h + i is the low nibble of byte 64h +
 * i, element 128h + 64 + i its high nibble (i = 0..63). The high two bits are two-bit planes as in q2_K. */
#include <assert.h>

#include "quant/quant_format.h"
#include "quant/small_float.h"

enum { QL_AT = 0, QH_AT = 128, SCALES_AT = 192, D_AT = 208, BLOCK_BYTES = 210, GROUPS = 16, GROUP = 16 };
static_assert(QH_AT + 64 == SCALES_AT && SCALES_AT + GROUPS == D_AT && D_AT + 2 == BLOCK_BYTES, "q6_K block");

void phy_decode_q6_k(const uint8_t *from, size_t blocks, float *out)
{
    for (size_t i = 0; i < blocks; i++, from += BLOCK_BYTES) {
        const float d = phy_f16_load(from + D_AT);
        for (int g = 0; g < GROUPS; g++, out += GROUP) {
            const float scale = d * (float)(int8_t)from[SCALES_AT + g];
            const int half = g / 8, run = g % 8 / 2; /* run: which 32 of the half's 128 */
            const uint8_t *ql = from + QL_AT + 64 * half + 32 * (run % 2) + GROUP * (g % 2);
            const uint8_t *qh = from + QH_AT + 32 * half + GROUP * (g % 2);
            const int low = 4 * (run / 2), high = 2 * run;
            for (int j = 0; j < GROUP; j++)
                out[j] = scale * (float)((ql[j] >> low & 15) + ((qh[j] >> high & 3) << 4) - 32);
        }
    }
}
