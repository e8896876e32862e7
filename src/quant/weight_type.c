/* SPDX-License-Identifier: Apache-2.0 */
#include "quant/weight_type.h"

#include <assert.h>
#include <string.h>

#include "base/checked_math.h"
#include "quant/small_float.h"

enum { MAX_ELEMENTS = 256 };

static const char *const names[PHY_WEIGHT_TYPE_COUNT] = {
    [PHY_WEIGHT_BF16] = "bf16",   [PHY_WEIGHT_F16] = "f16",        [PHY_WEIGHT_F32] = "f32",
    [PHY_WEIGHT_Q8_0] = "q8_0",   [PHY_WEIGHT_Q4_0] = "q4_0",      [PHY_WEIGHT_Q4_K] = "q4_K",
    [PHY_WEIGHT_Q6_K] = "q6_K",   [PHY_WEIGHT_FP8] = "vindex_fp8", [PHY_WEIGHT_FP4] = "vindex_fp4",
    [PHY_WEIGHT_MXFP4] = "mxfp4",
};

static const struct phy_quant_format bitmaps[] = {
    {"bitmap_bf16", PHY_NO_GGUF_ID, 1, 2, NULL, NULL},
    {"bitmap_f16", PHY_NO_GGUF_ID, 1, 2, NULL, NULL},
    {"bitmap_f32", PHY_NO_GGUF_ID, 1, 4, NULL, NULL},
};

/* Where each is in phy_quant_formats: kernels ask for every row. */
static const unsigned char places[PHY_WEIGHT_TYPE_COUNT] = {
    [PHY_WEIGHT_BF16] = 2, [PHY_WEIGHT_F16] = 1,    [PHY_WEIGHT_F32] = 0,   [PHY_WEIGHT_Q8_0] = 7,
    [PHY_WEIGHT_Q4_0] = 3, [PHY_WEIGHT_Q4_K] = 10,  [PHY_WEIGHT_Q6_K] = 12, [PHY_WEIGHT_FP8] = 17,
    [PHY_WEIGHT_FP4] = 16, [PHY_WEIGHT_MXFP4] = 15,
};

const struct phy_quant_format *phy_weight_format(enum phy_weight_type type)
{
    if (phy_weight_is_bitmap(type))
        return &bitmaps[type - PHY_WEIGHT_BITMAP_BF16];
    const struct phy_quant_format *format = &phy_quant_formats[places[type]];
    assert(strcmp(format->name, names[type]) == 0);
    return format;
}

bool phy_weight_type_named(const char *name, enum phy_weight_type *type)
{
    for (int i = 0; i < PHY_WEIGHT_BITMAP_END; i++) {
        if (strcmp(phy_weight_is_bitmap((enum phy_weight_type)i) ? bitmaps[i - PHY_WEIGHT_BITMAP_BF16].name : names[i],
                   name) == 0) {
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
