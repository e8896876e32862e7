/* SPDX-License-Identifier: Apache-2.0 */
/* Block formats on disk: what docs/quant.md says, bit for bit. One row of the table for each format that can be
 * decoded. */
#ifndef PHY_QUANT_FORMAT_H
#define PHY_QUANT_FORMAT_H

#include <stddef.h>
#include <stdint.h>

/* Decode `blocks` blocks from `from` (any alignment) to out, (blocks * elements) floats. One rounding per operation, in
 * the order that docs/quant.md writes; signs of zero included. The two must not overlap. */
typedef void phy_decode_blocks(const uint8_t *from, size_t blocks, float *out);
/* Encode (blocks * elements) finite floats to `blocks` blocks. The same bytes on every processor, whatever its
 * instructions. The two must not overlap. */
typedef void phy_encode_blocks(const float *from, size_t blocks, uint8_t *out);

struct phy_quant_format {
    const char *name;         /* "q4_K": the name in docs/quant.md and of the golden files */
    uint32_t gguf_id;         /* type id in a GGUF file; or PHY_NO_GGUF_ID */
    uint32_t elements, bytes; /* of one block */
    phy_decode_blocks *decode;
    phy_encode_blocks *encode; /* NULL: read only */
};

#define PHY_NO_GGUF_ID UINT32_MAX

/* Places in the table. */
enum phy_quant_place {
    PHY_QUANT_F32,
    PHY_QUANT_F16,
    PHY_QUANT_BF16,
    PHY_QUANT_Q4_0,
    PHY_QUANT_Q4_1,
    PHY_QUANT_Q5_0,
    PHY_QUANT_Q5_1,
    PHY_QUANT_Q8_0,
    PHY_QUANT_Q2_K,
    PHY_QUANT_Q3_K,
    PHY_QUANT_Q4_K,
    PHY_QUANT_Q5_K,
    PHY_QUANT_Q6_K,
    PHY_QUANT_IQ4_NL,
    PHY_QUANT_IQ4_XS,
    PHY_QUANT_MXFP4,
    PHY_QUANT_VINDEX_FP4,
    PHY_QUANT_VINDEX_FP8,
    PHY_QUANT_COUNT
};

extern const struct phy_quant_format phy_quant_formats[];
extern const size_t phy_quant_format_count;

/* NULL if that type cannot be decoded. */
const struct phy_quant_format *phy_quant_by_gguf_id(uint32_t gguf_id);
const struct phy_quant_format *phy_quant_named(const char *name);

/* One file each; what a block looks like is drawn there. */
phy_decode_blocks phy_decode_f32, phy_decode_f16, phy_decode_bf16, phy_decode_q4_0, phy_decode_q4_1, phy_decode_q5_0,
    phy_decode_q5_1, phy_decode_q8_0, phy_decode_q2_k, phy_decode_q3_k, phy_decode_q4_k, phy_decode_q5_k,
    phy_decode_q6_k, phy_decode_iq4_nl, phy_decode_iq4_xs, phy_decode_mxfp4, phy_decode_vindex_fp4,
    phy_decode_vindex_fp8;

phy_encode_blocks phy_encode_f32, phy_encode_f16, phy_encode_q4_0, phy_encode_q4_1, phy_encode_q5_0, phy_encode_q5_1,
    phy_encode_q8_0, phy_encode_mxfp4, phy_encode_q2_k, phy_encode_q3_k, phy_encode_q4_k, phy_encode_q5_k,
    phy_encode_q6_k, phy_encode_iq4_nl, phy_encode_vindex_fp4, phy_encode_vindex_fp8;

/* count floats to bf16, to nearest even, little-endian bytes. */
void phy_bf16_encode(const float *from, size_t count, uint8_t *out);

#endif
