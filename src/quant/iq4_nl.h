/* SPDX-License-Identifier: Apache-2.0 */
/* The sixteen values that a nibble of iq4_nl and iq4_xs stands for. */
#ifndef PHY_QUANT_IQ4_NL_H
#define PHY_QUANT_IQ4_NL_H

static const float phy_iq4_values[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};

#endif
