/* SPDX-License-Identifier: Apache-2.0 */
/* What flow_tile.comp and src/vk agree on; included by both. */
#ifndef PHY_SHADERS_SHARED_FLOW_TILE_H
#define PHY_SHADERS_SHARED_FLOW_TILE_H

#ifdef PHY_GLSL
#define PHY_UINT uint
#define PHY_FLOAT float
#else
#include <assert.h>
#include <stdint.h>
#define PHY_UINT uint32_t
#define PHY_FLOAT float
#endif

/* Specialisation constants. INVOCATIONS = BLOCK^2 / (PATCH_ROWS * PATCH_COLS). */
#define PHY_FLOW_SPEC_INVOCATIONS 0
#define PHY_FLOW_SPEC_BLOCK 1
#define PHY_FLOW_SPEC_PATCH_ROWS 2
#define PHY_FLOW_SPEC_PATCH_COLS 3
#define PHY_FLOW_SPEC_TYPE 4   /* enum phy_float_type: 0 bf16, 1 f16, 2 f32 */
#define PHY_FLOW_SPEC_BETA 5   /* 1 .. 4 */
#define PHY_FLOW_SPEC_SCALED 6 /* food is |w| * scale[column] */
#define PHY_FLOW_SPEC_COUNT 7

/* Storage buffers of set 0. */
#define PHY_FLOW_BINDING_CODES 0   /* (rows, row_words) words, row-major; 16-bit codes in pairs, low half first */
#define PHY_FLOW_BINDING_SCALES 1  /* (cols) bits of float32; any buffer when not SCALED */
#define PHY_FLOW_BINDING_MASKS 2   /* (tiles, BLOCK^2 / 32) words: see struct vk_mask_tile in src/vk/vk.h */
#define PHY_FLOW_BINDING_RESULTS 3 /* (tiles, 4) words: killed, weights that are not zero, peak bits, 0 */
#define PHY_FLOW_RESULT_WORDS 4

/* self_test.comp: operands in CODES, outcomes in MASKS. */
#define PHY_SELF_TEST_INVOCATIONS 128
#define PHY_SELF_TEST_OPERAND_WORDS 5
#define PHY_SELF_TEST_OUTCOME_WORDS 7

/* Push constants: one piece, a rectangle of tiles. Element 2 * (clipped at the bottom) + (clipped at the right) of
 * mean_factor is 2^-6 / (the tile's cells), rounded once: the device does not divide. */
#define PHY_FLOW_PUSH_MEMBERS                                                                                          \
    PHY_UINT rows;                                                                                                     \
    PHY_UINT cols;                                                                                                     \
    PHY_UINT row_words;                                                                                                \
    PHY_UINT tiles_across;                                                                                             \
    PHY_UINT iterations;                                                                                               \
    PHY_FLOAT half_gain;                                                                                               \
    PHY_FLOAT mean_factor[4];

#ifndef PHY_GLSL
struct phy_flow_push {
    PHY_FLOW_PUSH_MEMBERS
};
static_assert(sizeof(struct phy_flow_push) == 40, "the shader's block has no padding and is within 128 bytes");
#endif

#endif
