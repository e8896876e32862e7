/* SPDX-License-Identifier: Apache-2.0 */
/* What rank_rows.comp and src/vk agree on; included by both. The bindings are those of flow_tile.h. */
#ifndef PHY_SHADERS_SHARED_RANK_ROWS_H
#define PHY_SHADERS_SHARED_RANK_ROWS_H

#ifdef PHY_GLSL
#define PHY_UINT uint
#else
#include <assert.h>
#include <stdint.h>
#define PHY_UINT uint32_t
#endif

/* Specialisation constants. */
#define PHY_RANK_SPEC_INVOCATIONS 0
#define PHY_RANK_SPEC_TYPE 1     /* enum phy_float_type: 0 bf16, 1 f16, 2 f32 */
#define PHY_RANK_SPEC_SCORE 2    /* enum phy_rank_score: 0 magnitude, 1 wanda, 2 ria */
#define PHY_RANK_SPEC_FACTORED 3 /* ria: column_factor is there */
#define PHY_RANK_SPEC_COUNT 4

/* Push constants; places are words of the buffer of SCALES. */
#define PHY_RANK_PUSH_MEMBERS                                                                                          \
    PHY_UINT cols;                                                                                                     \
    PHY_UINT row_words;      /* of codes in a row */                                                                   \
    PHY_UINT kill;           /* of a row, when there is no group */                                                    \
    PHY_UINT keep;           /* of a group */                                                                          \
    PHY_UINT group;          /* 0, or a power of two up to 32 */                                                       \
    PHY_UINT factor_at;      /* (cols) float32 bits: wanda's scale, ria's root */                                      \
    PHY_UINT inverse_at;     /* (cols) ria: 1 / the column's sum */                                                    \
    PHY_UINT row_inverse_at; /* (rows) ria: 1 / the row's sum */                                                       \
    PHY_UINT scores_at;      /* (rows, cols): room for the shader */

#ifndef PHY_GLSL
struct phy_rank_push {
    PHY_RANK_PUSH_MEMBERS
};
static_assert(sizeof(struct phy_rank_push) == 36, "the shader's block has no padding and is within 128 bytes");
#endif

#endif
