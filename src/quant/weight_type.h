/* SPDX-License-Identifier: Apache-2.0 */
/* The formats that weights are multiplied in: three floats, widened in the kernel, and block formats of docs/quant.md.
 *
 * A matrix (rows, cols) of any of them is `rows` rows of whole blocks, phy_weight_row_bytes each, nothing between. What
 * the last block of a row holds beyond `cols` is padding: encoders write zeros there before they quantise, so that its
 * decoded values may differ from zero, and kernels take x as zero there. */
#ifndef PHY_QUANT_WEIGHT_TYPE_H
#define PHY_QUANT_WEIGHT_TYPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "quant/quant_format.h"

/* The first three are those of enum phy_float_type, with the same values. */
enum phy_weight_type {
    PHY_WEIGHT_BF16,
    PHY_WEIGHT_F16,
    PHY_WEIGHT_F32,
    PHY_WEIGHT_Q8_0,
    PHY_WEIGHT_Q4_0,
    PHY_WEIGHT_Q4_K,
    PHY_WEIGHT_Q6_K,
    PHY_WEIGHT_FP8, /* vindex_fp8 */
    PHY_WEIGHT_FP4, /* vindex_fp4 */
    PHY_WEIGHT_MXFP4,
    PHY_WEIGHT_TYPE_COUNT,
    /* Floats of which the zeros are left out (quant/bitmap.h): rows of no fixed length, so that nothing below that
     * takes a row knows them. They stand behind the count of those that it does know. */
    PHY_WEIGHT_BITMAP_BF16 = PHY_WEIGHT_TYPE_COUNT,
    PHY_WEIGHT_BITMAP_F16,
    PHY_WEIGHT_BITMAP_F32,
    PHY_WEIGHT_BITMAP_END,
    PHY_WEIGHT_FLOAT_COUNT = PHY_WEIGHT_F32 + 1
};

/* Bytes of one weight of the three floats. */
static inline size_t phy_weight_float_bytes(enum phy_weight_type type)
{
    return type == PHY_WEIGHT_F32 ? 4 : 2;
}

static inline bool phy_weight_is_bitmap(enum phy_weight_type type)
{
    return type >= PHY_WEIGHT_BITMAP_BF16 && type < PHY_WEIGHT_BITMAP_END;
}
/* The float of a bitmap's values, and back. */
static inline enum phy_weight_type phy_weight_bitmap_value(enum phy_weight_type type)
{
    return (enum phy_weight_type)(type - PHY_WEIGHT_BITMAP_BF16 + PHY_WEIGHT_BF16);
}
static inline enum phy_weight_type phy_weight_bitmap_of(enum phy_weight_type value)
{
    return (enum phy_weight_type)(value - PHY_WEIGHT_BF16 + PHY_WEIGHT_BITMAP_BF16);
}

/* Its row in phy_quant_formats; of a bitmap one with a name and nothing to decode with: name, elements and bytes of a
 * block, decoder, encoder. */
const struct phy_quant_format *phy_weight_format(enum phy_weight_type type);
/* By that name ("q4_K", "vindex_fp4"); false if weights are not multiplied in it. */
bool phy_weight_type_named(const char *name, enum phy_weight_type *type);

/* Bytes of a row of `cols` weights; false when that overflows, and of bitmaps. */
bool phy_weight_row_bytes(enum phy_weight_type type, size_t cols, size_t *bytes);

/* One row of `cols` floats to blocks, padded with zeros. False, and nothing written, when one is not finite, or would
 * not be as f16 or bf16; blocks saturate far beyond the weights of any model. Allocates nothing. Thread-safe; the same
 * bytes on every processor. */
bool phy_weight_encode_row(enum phy_weight_type type, const float *from, size_t cols, uint8_t *out);
/* One row of blocks to `cols` floats. */
void phy_weight_decode_row(enum phy_weight_type type, const uint8_t *from, size_t cols, float *out);

#endif
