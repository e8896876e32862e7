/* SPDX-License-Identifier: Apache-2.0 */
#include "quant/quant_format.h"

#include <string.h>

const struct phy_quant_format phy_quant_formats[PHY_QUANT_COUNT] = {
    [PHY_QUANT_F32] = {"f32", 0, 1, 4, phy_decode_f32, phy_encode_f32},
    [PHY_QUANT_F16] = {"f16", 1, 1, 2, phy_decode_f16, phy_encode_f16},
    [PHY_QUANT_BF16] = {"bf16", 30, 1, 2, phy_decode_bf16, phy_bf16_encode},
    [PHY_QUANT_Q4_0] = {"q4_0", 2, 32, 18, phy_decode_q4_0, phy_encode_q4_0},
    [PHY_QUANT_Q4_1] = {"q4_1", 3, 32, 20, phy_decode_q4_1, phy_encode_q4_1},
    [PHY_QUANT_Q5_0] = {"q5_0", 6, 32, 22, phy_decode_q5_0, phy_encode_q5_0},
    [PHY_QUANT_Q5_1] = {"q5_1", 7, 32, 24, phy_decode_q5_1, phy_encode_q5_1},
    [PHY_QUANT_Q8_0] = {"q8_0", 8, 32, 34, phy_decode_q8_0, phy_encode_q8_0},
    [PHY_QUANT_Q2_K] = {"q2_K", 10, 256, 84, phy_decode_q2_k, phy_encode_q2_k},
    [PHY_QUANT_Q3_K] = {"q3_K", 11, 256, 110, phy_decode_q3_k, phy_encode_q3_k},
    [PHY_QUANT_Q4_K] = {"q4_K", 12, 256, 144, phy_decode_q4_k, phy_encode_q4_k},
    [PHY_QUANT_Q5_K] = {"q5_K", 13, 256, 176, phy_decode_q5_k, phy_encode_q5_k},
    [PHY_QUANT_Q6_K] = {"q6_K", 14, 256, 210, phy_decode_q6_k, phy_encode_q6_k},
    [PHY_QUANT_IQ4_NL] = {"iq4_nl", 20, 32, 18, phy_decode_iq4_nl, phy_encode_iq4_nl},
    [PHY_QUANT_IQ4_XS] = {"iq4_xs", 23, 256, 136, phy_decode_iq4_xs, NULL},
    [PHY_QUANT_MXFP4] = {"mxfp4", 39, 32, 17, phy_decode_mxfp4, phy_encode_mxfp4},
    [PHY_QUANT_VINDEX_FP4] = {"vindex_fp4", PHY_NO_GGUF_ID, 256, 137, phy_decode_vindex_fp4, phy_encode_vindex_fp4},
    [PHY_QUANT_VINDEX_FP8] = {"vindex_fp8", PHY_NO_GGUF_ID, 256, 257, phy_decode_vindex_fp8, phy_encode_vindex_fp8},
};
const size_t phy_quant_format_count = PHY_QUANT_COUNT;

const struct phy_quant_format *phy_quant_by_gguf_id(uint32_t gguf_id)
{
    for (size_t i = 0; i < phy_quant_format_count; i++) {
        if (phy_quant_formats[i].gguf_id == gguf_id && gguf_id != PHY_NO_GGUF_ID)
            return &phy_quant_formats[i];
    }
    return NULL;
}

const struct phy_quant_format *phy_quant_named(const char *name)
{
    for (size_t i = 0; i < phy_quant_format_count; i++) {
        if (strcmp(phy_quant_formats[i].name, name) == 0)
            return &phy_quant_formats[i];
    }
    return NULL;
}
