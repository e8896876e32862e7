/* SPDX-License-Identifier: Apache-2.0 */
#include "quant/weight_type.h"

#include <string.h>

#include "base/checked_math.h"
#include "quant/small_float.h"

enum { MAX_ELEMENTS = 256 };

static const struct phy_quant_format bitmaps[] = {
    {"bitmap_bf16", PHY_NO_GGUF_ID, 1, 2, NULL, NULL},
    {"bitmap_f16", PHY_NO_GGUF_ID, 1, 2, NULL, NULL},
    {"bitmap_f32", PHY_NO_GGUF_ID, 1, 4, NULL, NULL},
};

static const struct phy_quant_format *const formats[PHY_WEIGHT_BITMAP_END] = {
    [PHY_WEIGHT_BF16] = &phy_quant_formats[PHY_QUANT_BF16],
    [PHY_WEIGHT_F16] = &phy_quant_formats[PHY_QUANT_F16],
    [PHY_WEIGHT_F32] = &phy_quant_formats[PHY_QUANT_F32],
    [PHY_WEIGHT_Q8_0] = &phy_quant_formats[PHY_QUANT_Q8_0],
    [PHY_WEIGHT_Q4_0] = &phy_quant_formats[PHY_QUANT_Q4_0],
    [PHY_WEIGHT_Q4_K] = &phy_quant_formats[PHY_QUANT_Q4_K],
    [PHY_WEIGHT_Q6_K] = &phy_quant_formats[PHY_QUANT_Q6_K],
    [PHY_WEIGHT_FP8] = &phy_quant_formats[PHY_QUANT_VINDEX_FP8],
    [PHY_WEIGHT_FP4] = &phy_quant_formats[PHY_QUANT_VINDEX_FP4],
    [PHY_WEIGHT_MXFP4] = &phy_quant_formats[PHY_QUANT_MXFP4],
    [PHY_WEIGHT_BITMAP_BF16] = &bitmaps[0],
    [PHY_WEIGHT_BITMAP_F16] = &bitmaps[1],
    [PHY_WEIGHT_BITMAP_F32] = &bitmaps[2],
};

const struct phy_quant_format *phy_weight_format(enum phy_weight_type type)
{
    return formats[type];
}

bool phy_weight_type_named(const char *name, enum phy_weight_type *type)
{
    for (int i = 0; i < PHY_WEIGHT_BITMAP_END; i++) {
        if (strcmp(formats[i]->name, name) == 0) {
            *type = (enum phy_weight_type)i;
            return true;
        }
    }
    return false;
}

bool phy_weight_row_bytes(enum phy_weight_type type, size_t cols, size_t *bytes)
{
    const struct phy_quant_format *format = phy_weight_format(type);
    *bytes = 0;
    if (phy_weight_is_bitmap(type))
        return false;
    return phy_mul_size(cols / format->elements + (cols % format->elements != 0), format->bytes, bytes);
}

bool phy_weight_encode_row(enum phy_weight_type type, const float *from, size_t cols, uint8_t *out)
{
    const struct phy_quant_format *format = phy_weight_format(type);
    /* The largest that rounds to something finite: f16 has no more than 65504, 65520 being half a step above. */
    const uint32_t limit = type == PHY_WEIGHT_F16 ? 0x477FF000 : type == PHY_WEIGHT_BF16 ? 0x7F7F8000 : 0x7F800000;
    unsigned beyond = 0;
    for (size_t i = 0; i < cols; i++)
        beyond |= (phy_bits_of_float(from[i]) & 0x7FFFFFFF) >= limit;
    if (beyond)
        return false;
    size_t blocks = cols / format->elements, tail = cols % format->elements;
    format->encode(from, blocks, out);
    if (tail) {
        float last[MAX_ELEMENTS] = {0};
        memcpy(last, from + blocks * format->elements, tail * sizeof *last);
        format->encode(last, 1, out + blocks * format->bytes);
    }
    return true;
}

void phy_weight_decode_row(enum phy_weight_type type, const uint8_t *from, size_t cols, float *out)
{
    const struct phy_quant_format *format = phy_weight_format(type);
    size_t blocks = cols / format->elements, tail = cols % format->elements;
    format->decode(from, blocks, out);
    if (tail) {
        float last[MAX_ELEMENTS];
        format->decode(from + blocks * format->bytes, 1, last);
        memcpy(out + blocks * format->elements, last, tail * sizeof *last);
    }
}
