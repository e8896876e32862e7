/* SPDX-License-Identifier: Apache-2.0 */
/* How weights lie on a device; included by C, which lays them so once (vk_matmul_layout.c), and by GLSL.
 *
 * Blocks on disk have odd sizes, 17 to 257 bytes. Here a row of `units` units of 32 columns is four planes of whole
 * 16-byte words, so that neighbours load neighbouring 16 bytes:
 *
 *   codes    of each unit 16 bytes (32 nibbles), 32 (bytes), 64 or 128 (floats); beyond the matrix zeros
 *   high     q6_K: 8 bytes of each unit, the upper two bits of its codes
 *   heads    of each 8 units (256 columns) what their scales come from
 *   scales   of each 8 units one float32: q6_K's d, vindex_fp8's block scale
 *
 * Floats are as stored. Other codes are transposed, so that one shift of a whole vector brings four neighbouring
 * columns to the same place, and one mask the 16 of a side to bytes. Column 16 side + 4j + c, with side = 0..1, j and c
 * = 0..3:
 *
 *   bytes    bits 8j..8j+7 of word 4 side + c
 *   nibbles  bits 8j + 4 side..+3 of word c
 *   high     bits 8j + 4(c % 2) + 2 side..+1 of word c / 2
 *
 * Heads (word w, bit 0 the lowest), unit n = 0..7 of the 8:
 *
 *   q8_0, q4_0  f16 of unit n: half n % 2 of word n / 2
 *   vindex_fp4  the same with bf16(sub * block): eight significant bits, so exact
 *   mxfp4       e of unit n: byte n % 4 of word n / 4; two words
 *   q4_K        word 0: d | dmin << 16; bits 4n..4n+3 of word 1: the low four of s[n], of word 2: the low four of m[n],
 *               of word 3: the high two of s[n], then those of m[n]
 *   q6_K        byte n % 2 * 2 + g of word n / 2: the signed scale of columns 16g..16g+15 of unit n
 *
 * A bitmap's rows have no fixed size. What is bound, rows of a matrix, is three planes of all of them:
 *
 *   bits     of each row and 4 units a word of 16 bytes: bit c % 32 of its c / 32 % 4 is 1 where weight c is stored
 *   firsts   of each of those words 4 bytes: where its values begin, counted in values from the first that is bound
 *   values   as stored, row after row; then 16 bytes of zeros, and to a whole word, because loads run ahead */
#ifndef PHY_SHADERS_SHARED_WEIGHT_LAYOUT_H
#define PHY_SHADERS_SHARED_WEIGHT_LAYOUT_H

/* enum phy_weight_type */
#define PHY_LAYOUT_BF16 0
#define PHY_LAYOUT_F16 1
#define PHY_LAYOUT_F32 2
#define PHY_LAYOUT_Q8_0 3
#define PHY_LAYOUT_Q4_0 4
#define PHY_LAYOUT_Q4_K 5
#define PHY_LAYOUT_Q6_K 6
#define PHY_LAYOUT_FP8 7
#define PHY_LAYOUT_FP4 8
#define PHY_LAYOUT_MXFP4 9
#define PHY_LAYOUT_BITMAP 10 /* and the float of its values */

#define PHY_UNIT_COLS 32
#define PHY_SUPER_UNITS 8
#define PHY_BITMAP_UNITS 4 /* of a word of bits */

/* 16-byte words of a unit's codes; 8-byte words of its high plane. */
#define PHY_LAYOUT_CODES(type)                                                                                         \
    ((type) == PHY_LAYOUT_F32                                ? 8u                                                      \
     : (type) < PHY_LAYOUT_F32                               ? 4u                                                      \
     : (type) == PHY_LAYOUT_Q8_0 || (type) == PHY_LAYOUT_FP8 ? 2u                                                      \
                                                             : 1u)
#define PHY_LAYOUT_HIGH(type) ((type) == PHY_LAYOUT_Q6_K ? 1u : 0u)
/* 4-byte words of 8 units. */
#define PHY_LAYOUT_HEADS(type)                                                                                         \
    ((type) == PHY_LAYOUT_MXFP4 ? 2u : (type) == PHY_LAYOUT_FP8 || (type) <= PHY_LAYOUT_F32 ? 0u : 4u)
#define PHY_LAYOUT_SCALES(type) ((type) == PHY_LAYOUT_Q6_K || (type) == PHY_LAYOUT_FP8 ? 1u : 0u)

/* Where a plane of a row begins, and where the next row does, in 16-byte words. `supers` is units / 8, rounded up. */
#define PHY_LAYOUT_HIGH_AT(type, units) ((units)*PHY_LAYOUT_CODES(type))
#define PHY_LAYOUT_HEADS_AT(type, units) (PHY_LAYOUT_HIGH_AT(type, units) + ((units)*PHY_LAYOUT_HIGH(type) + 1) / 2)
#define PHY_LAYOUT_SCALES_AT(type, units, supers)                                                                      \
    (PHY_LAYOUT_HEADS_AT(type, units) + ((supers)*PHY_LAYOUT_HEADS(type) + 3) / 4)
#define PHY_LAYOUT_ROW(type, units, supers)                                                                            \
    (PHY_LAYOUT_SCALES_AT(type, units, supers) + ((supers)*PHY_LAYOUT_SCALES(type) + 3) / 4)

#endif
