/* SPDX-License-Identifier: Apache-2.0 */
/* What the shaders of products and src/vk agree on; included by both. */
#ifndef PHY_SHADERS_SHARED_MATMUL_H
#define PHY_SHADERS_SHARED_MATMUL_H

#ifdef PHY_GLSL
#define PHY_UINT uint
#else
#include <assert.h>
#include <stdint.h>
#define PHY_UINT uint32_t
#endif

/* Specialisation constants. A workgroup has LANES * ROW_LANES * COUNT_LANES invocations. */
#define PHY_MATMUL_SPEC_INVOCATIONS 0
#define PHY_MATMUL_SPEC_LANES 1       /* invocations that share a sum over k */
#define PHY_MATMUL_SPEC_ROW_LANES 2   /* that have rows of w of their own */
#define PHY_MATMUL_SPEC_COUNT_LANES 3 /* that have rows of x of their own */
#define PHY_MATMUL_SPEC_COUNT 4
/* matmul_matrix.comp: LANES are a subgroup, which has ROWS rows of w and COUNT rows of x; matrices of M x K and K x N.
 */
#define PHY_MATRIX_SPEC_ROWS 4
#define PHY_MATRIX_SPEC_COUNT 5
#define PHY_MATRIX_SPEC_M 6
#define PHY_MATRIX_SPEC_N 7
#define PHY_MATRIX_SPEC_K 8
#define PHY_MATRIX_SPEC_W_PIECES 9
#define PHY_MATRIX_SPEC_X_PIECES 10
#define PHY_MATRIX_SPEC_W_EXPONENTS 11 /* 0: those of w are 0, and not there */
#define PHY_MATRIX_SPEC_END 12
/* The build's: PHY_MATMUL_TYPE, enum phy_weight_type (floats: matmul.comp, blocks: matmul_blocks.comp, bitmaps:
 * bitmap_matmul.comp); PHY_MATMUL_ROWS
 * of w and PHY_MATMUL_COUNT rows of x for an invocation. */

/* Storage buffers of set 0. X and Y are the same buffer of activations, at places that don't overlap. */
#define PHY_MATMUL_BINDING_W 0 /* rows of words of 16 bytes, padded with zeros; blocks: weight_layout.h */
#define PHY_MATMUL_BINDING_X 1 /* rows of whole blocks of PHY_MATMUL_X_UNIT floats, padded with zeros */
#define PHY_MATMUL_BINDING_Y 2
/* decode.comp: rows of whole units of float32, bitmap_decode.comp: of its values; W of a product then */
#define PHY_MATMUL_BINDING_SCRATCH 3
#define PHY_MATMUL_BINDINGS 4
/* And W as uniform texel buffers, for modules that load it so (_eights, _texels): words of 16, 8 and 4 bytes. */
#define PHY_MATMUL_BINDING_TEXELS 4
#define PHY_MATMUL_TEXELS 3

/* Columns that rows of x are padded to: a unit of weight_layout.h. */
#define PHY_MATMUL_X_UNIT 32
/* Words of 16 bytes whose products matmul.comp adds up before it adds them to a sum that keeps what is lost: 32
 * products. */
#define PHY_MATMUL_PANEL_WORDS(type) ((type) == 2u ? 8u : 4u)

/* Push constants of matmul.comp: rows row_begin .. row_end - 1 of the bound slice. */
#define PHY_MATMUL_PUSH_MEMBERS                                                                                        \
    PHY_UINT row_begin;                                                                                                \
    PHY_UINT row_end;                                                                                                  \
    PHY_UINT blocks;         /* in a row of w: of matmul.comp words of 16 bytes, else units of 32 columns */           \
    PHY_UINT count;          /* rows of x */                                                                           \
    PHY_UINT x_at;           /* vec4s */                                                                               \
    PHY_UINT x_stride;       /* vec4s */                                                                               \
    PHY_UINT y_at;           /* floats; of the slice's row 0 */                                                        \
    PHY_UINT y_stride;       /* floats */                                                                              \
    PHY_UINT list_at;        /* words; by list: row_begin .. are places in the list */                                 \
    PHY_UINT first_row;      /* by list: of the bound slice */                                                         \
    PHY_UINT firsts_at;      /* bitmaps: words */                                                                      \
    PHY_UINT units;          /* matmul_matrix.comp, where `blocks` are words of 16 bytes and x is one of those, too */ \
    PHY_UINT x_exponents_at; /* words; of row 0 of x */                                                                \
    PHY_UINT w_exponents_at; /* words; of the slice's row 0 */

/* Push constants of split_rows.comp: a workgroup for each row from row_begin on. Of each row and unit `pieces` times 4
 * words of 16 bytes, 32 binary16 each: the sum of the pieces is the value, divided by 2^exponent of the row. */
#define PHY_SPLIT_INVOCATIONS 64
#define PHY_SPLIT_WORDS 4 /* of a piece of a unit */
#define PHY_SPLIT_PUSH_MEMBERS                                                                                         \
    PHY_UINT row_begin;                                                                                                \
    PHY_UINT units;                                                                                                    \
    PHY_UINT pieces;       /* 1 or 2 */                                                                                \
    PHY_UINT to_at;        /* words of 16 bytes */                                                                     \
    PHY_UINT exponents_at; /* words */                                                                                 \
    PHY_UINT x_at;         /* vec4s */                                                                                 \
    PHY_UINT x_stride;     /* vec4s */

/* Push constants of ffn_gate.comp: out = act(gate) * up, in rows of `width` of `out_stride` floats; the rest of a row
 * becomes zero. `step`: 1 from one of gate's values, and of up's, to the next; 2 where they lie in turn. */
#define PHY_FFN_GATE_INVOCATIONS 64
#define PHY_FFN_GATE_PUSH_MEMBERS                                                                                      \
    PHY_UINT width;                                                                                                    \
    PHY_UINT step;                                                                                                     \
    PHY_UINT in_stride;                                                                                                \
    PHY_UINT out_stride;                                                                                               \
    PHY_UINT gate_at;    /* floats */                                                                                  \
    PHY_UINT up_at;      /* floats */                                                                                  \
    PHY_UINT out_at;     /* floats */                                                                                  \
    PHY_UINT activation; /* enum phy_activation: 0 SiLU, 1 tanh-GELU */

/* Push constants of decode.comp and bitmap_decode.comp: rows row_begin .. row_end - 1 of the bound slice to the
 * scratch, from its beginning. */
#define PHY_DECODE_INVOCATIONS 64
#define PHY_DECODE_PUSH_MEMBERS                                                                                        \
    PHY_UINT row_begin;                                                                                                \
    PHY_UINT row_end;                                                                                                  \
    PHY_UINT units;                                                                                                    \
    PHY_UINT firsts_at; /* bitmaps: words */

/* Push constants of round_x.comp and round_bf16.comp: `count` rows of `units` units; the latter's to floats, as they
 * lie, the former's each to codes and scales:
 *
 *   codes   8 words of each unit: column 16 side + 4j + c is bits 8j..8j+7 of word 4 side + c
 *   scales  of each 8 units a float32 */
#define PHY_ROUND_INVOCATIONS 64
#define PHY_ROUND_PUSH_MEMBERS                                                                                         \
    PHY_UINT units;                                                                                                    \
    PHY_UINT x_at;     /* vec4s */                                                                                     \
    PHY_UINT x_stride; /* vec4s */                                                                                     \
    PHY_UINT to_at;    /* words, a multiple of 4; rows of PHY_ROUNDED_ROW */
/* 16-byte words of a rounded row. */
#define PHY_ROUNDED_ROW(units, supers) ((units)*2u + ((supers) + 3u) / 4u)

/* Push constants of walk_down.comp: parts[segment] = the sum of value * row over PHY_WALK_SEGMENT places of the list.
 */
#define PHY_WALK_SEGMENT 64
#define PHY_WALK_CHAIN 8 /* places that are added before the sum, which keeps what is lost, is told */
#define PHY_WALK_INVOCATIONS 64
#define PHY_WALK_EIGHTS_INVOCATIONS 8 /* of walk_down_eights.comp */
#define PHY_WALK_ROWS_TOGETHER 4
#define PHY_WALK_PUSH_MEMBERS                                                                                          \
    PHY_UINT units;                                                                                                    \
    PHY_UINT list_at; /* words */                                                                                      \
    PHY_UINT list_begin;                                                                                               \
    PHY_UINT list_end;                                                                                                 \
    PHY_UINT first_row;                                                                                                \
    PHY_UINT values_at; /* floats */                                                                                   \
    PHY_UINT parts_at;  /* vec4s; of the dispatch's first segment */                                                   \
    PHY_UINT rows;      /* of x: these three only where several are taken together */                                  \
    PHY_UINT values_stride;                                                                                            \
    PHY_UINT parts_stride;

/* Push constants of walk_sum.comp: y[column] = the sum over all segments. */
#define PHY_WALK_SUM_PUSH_MEMBERS                                                                                      \
    PHY_UINT cols;                                                                                                     \
    PHY_UINT segments;                                                                                                 \
    PHY_UINT parts_at; /* floats */                                                                                    \
    PHY_UINT stride;   /* floats */                                                                                    \
    PHY_UINT y_at;     /* floats */

#ifndef PHY_GLSL
struct phy_decode_push {
    PHY_DECODE_PUSH_MEMBERS
};
struct phy_round_push {
    PHY_ROUND_PUSH_MEMBERS
};
struct phy_walk_push {
    PHY_WALK_PUSH_MEMBERS
};
struct phy_walk_sum_push {
    PHY_WALK_SUM_PUSH_MEMBERS
};
static_assert(sizeof(struct phy_decode_push) == 16 && sizeof(struct phy_round_push) == 16 &&
                  sizeof(struct phy_walk_push) == 40 && sizeof(struct phy_walk_sum_push) == 20,
              "the shaders' blocks have no padding");
struct phy_matmul_push {
    PHY_MATMUL_PUSH_MEMBERS
};
static_assert(sizeof(struct phy_matmul_push) == 56, "the shader's block has no padding and is within 128 bytes");
struct phy_split_push {
    PHY_SPLIT_PUSH_MEMBERS
};
struct phy_ffn_gate_push {
    PHY_FFN_GATE_PUSH_MEMBERS
};
static_assert(sizeof(struct phy_split_push) == 28 && sizeof(struct phy_ffn_gate_push) == 32, "as above");
#endif

#endif
