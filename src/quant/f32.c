/* SPDX-License-Identifier: Apache-2.0 */
#include "quant/quant_format.h"
#include "quant/small_float.h"

void phy_decode_f32(const uint8_t *from, size_t blocks, float *out)
{
    for (size_t i = 0; i < blocks; i++)
        out[i] = phy_float_of_bits(phy_load_u32(from + 4 * i));
}

void phy_encode_f32(const float *from, size_t blocks, uint8_t *out)
{
    for (size_t i = 0; i < blocks; i++)
        phy_store_u32(out + 4 * i, phy_bits_of_float(from[i]));
}
