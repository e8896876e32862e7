/* SPDX-License-Identifier: Apache-2.0 */
/* The 12 scale bytes of q4_K and q5_K: eight 6-bit scales s and eight 6-bit minima m.
 *
 *   bytes 0-3   [7:6] s4..7 high two   [5:0] s0..3
 *   bytes 4-7   [7:6] m4..7 high two   [5:0] m0..3
 *   bytes 8-11  [7:4] m4..7 low four   [3:0] s4..7 low four
 *
 * Checked by tests/golden/test_quant_golden.c. */
#ifndef PHY_QUANT_K_SCALES_H
#define PHY_QUANT_K_SCALES_H

#include <stdint.h>

static inline int phy_k_scale(const uint8_t *b, int n)
{
    return n < 4 ? b[n] & 63 : (b[n + 4] & 15) | (b[n - 4] >> 6) << 4;
}

static inline int phy_k_minimum(const uint8_t *b, int n)
{
    return n < 4 ? b[n + 4] & 63 : b[n + 4] >> 4 | (b[n] >> 6) << 4;
}

#endif
