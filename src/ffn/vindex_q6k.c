/* SPDX-License-Identifier: Apache-2.0 */
/* The two orders of a Q6_K block, 210 bytes: ql[128] qh[64] scales[16] d.
 *
 *   element n        ggml                                            pairs
 *   low four bits    ql[64 (n/128) + n%64], high nibble for n%128 > 63   ql[n/2], high nibble for odd n
 *   high two bits    qh[32 (n/128) + n%32] >> 2 (n%128 / 32)             qh[n/4] >> 2 (n%4)
 */
#include <string.h>

#include "base/checked_math.h"
#include "ffn/vindex.h"

enum { BLOCK = 210, ELEMENTS = 256, SCALES_AT = 192, QH_AT = 128, GROUPS = 4096 };

static unsigned ggml_code(const uint8_t *block, unsigned n)
{
    const unsigned half = n / 128, in_half = n % 128;
    const unsigned low = block[64 * half + n % 64] >> (in_half > 63 ? 4 : 0) & 15;
    return low | (block[QH_AT + 32 * half + n % 32] >> 2 * (in_half / 32) & 3u) << 4;
}

static unsigned pairs_code(const uint8_t *block, unsigned n)
{
    return (block[n / 2] >> 4 * (n % 2) & 15u) | (block[QH_AT + n / 4] >> 2 * (n % 4) & 3u) << 4;
}

static bool reaches(const uint8_t *block, unsigned group, unsigned (*code)(const uint8_t *, unsigned))
{
    for (unsigned n = 16 * group; n < 16 * group + 16; n++) {
        const unsigned q = code(block, n);
        if (q <= 2 || q >= 62)
            return true;
    }
    return false;
}

enum phy_q6k_order phy_q6k_order_of(const uint8_t *blocks, size_t count)
{
    size_t seen = 0, ggml = 0, pairs = 0;
    for (size_t b = 0; b < count && seen < GROUPS; b++) {
        const uint8_t *block = blocks + b * BLOCK;
        const bool zero = (phy_load_u16(block + 208) & 0x7FFF) == 0;
        for (unsigned g = 0; g < 16 && !zero && seen < GROUPS; g++) {
            if (block[SCALES_AT + g] == 0)
                continue;
            seen++;
            ggml += reaches(block, g, ggml_code);
            pairs += reaches(block, g, pairs_code);
        }
    }
    const bool is_ggml = (double)ggml > 0.95 * (double)seen, is_pairs = (double)pairs > 0.95 * (double)seen;
    if (seen == 0)
        return PHY_Q6K_GGML; /* zeros in any order */
    return is_ggml == is_pairs ? PHY_Q6K_TOLD_BY_CODES : is_ggml ? PHY_Q6K_GGML : PHY_Q6K_PAIRS;
}

void phy_q6k_reorder(const uint8_t *from, size_t count, uint8_t *to)
{
    for (size_t b = 0; b < count; b++, from += BLOCK, to += BLOCK) {
        memset(to, 0, SCALES_AT);
        memcpy(to + SCALES_AT, from + SCALES_AT, BLOCK - SCALES_AT);
        for (unsigned n = 0; n < ELEMENTS; n++) {
            const unsigned q = pairs_code(from, n), half = n / 128, in_half = n % 128;
            to[64 * half + n % 64] |= (uint8_t)((q & 15) << (in_half > 63 ? 4 : 0));
            to[QH_AT + 32 * half + n % 32] |= (uint8_t)(q >> 4 << 2 * (in_half / 32));
        }
    }
}

void phy_q6k_reorder_to_pairs(const uint8_t *from, size_t count, uint8_t *to)
{
    for (size_t b = 0; b < count; b++, from += BLOCK, to += BLOCK) {
        memset(to, 0, SCALES_AT);
        memcpy(to + SCALES_AT, from + SCALES_AT, BLOCK - SCALES_AT);
        for (unsigned n = 0; n < ELEMENTS; n++) {
            const unsigned q = ggml_code(from, n);
            to[n / 2] |= (uint8_t)((q & 15) << 4 * (n % 2));
            to[QH_AT + n / 4] |= (uint8_t)(q >> 4 << 2 * (n % 4));
        }
    }
}
