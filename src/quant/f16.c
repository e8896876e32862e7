/* SPDX-License-Identifier: Apache-2.0 */
#include "quant/quant_format.h"
#include "quant/small_float.h"

void phy_decode_f16(const uint8_t *from, size_t blocks, float *out)
{
    for (size_t i = 0; i < blocks; i++)
        out[i] = phy_f16_load(from + 2 * i);
}

void phy_encode_f16(const float *from, size_t blocks, uint8_t *out)
{
    for (size_t i = 0; i < blocks; i++)
        phy_store_u16(out + 2 * i, phy_f16_round(from[i]));
}
