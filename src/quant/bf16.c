/* SPDX-License-Identifier: Apache-2.0 */
#include "quant/quant_format.h"
#include "quant/small_float.h"

void phy_decode_bf16(const uint8_t *from, size_t blocks, float *out)
{
    for (size_t i = 0; i < blocks; i++)
        out[i] = phy_bf16_widen(phy_load_u16(from + 2 * i));
}

void phy_bf16_encode(const float *from, size_t count, uint8_t *out)
{
    for (size_t i = 0; i < count; i++) {
        uint16_t code = phy_bf16_round(from[i]);
        out[2 * i] = (uint8_t)code;
        out[2 * i + 1] = (uint8_t)(code >> 8);
    }
}
