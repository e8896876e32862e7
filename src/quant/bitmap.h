/* SPDX-License-Identifier: Apache-2.0 */
/* A matrix of floats of which many are zero: which are not, and those. Not blocks: rows are as long as what is in them.
 * Of (rows, cols), from its first byte on, little-endian:
 *
 *   first   u32 (rows + 1)              the row's first value among all values; the last: how many values there are
 *           zeros up to a multiple of 8
 *   bits    u64 (rows, ceil(cols / 64)) bit c % 64 of word c / 64: weight c is stored; beyond cols: 0
 *   values  (first[rows])               the donor's codes, bf16, f16 or f32, row after row
 *   end     64 bytes of zeros           so that a kernel may load a whole vector at any value
 *
 * A weight is stored unless its code is 0: a negative zero is, so that decoding gives every bit back. */
#ifndef PHY_QUANT_BITMAP_H
#define PHY_QUANT_BITMAP_H

#include "quant/weight_type.h"

enum { PHY_BITMAP_WORD = 64, PHY_BITMAP_END_BYTES = 64 };

struct phy_bitmap {
    const uint8_t *data;
    enum phy_weight_type value; /* of the three floats */
    size_t rows, cols, words;   /* words of a row */
    uint64_t bits_at, values_at;
};

/* Where the parts of a matrix of that bitmap type lie; its data may be NULL. False when a size overflows. */
bool phy_bitmap_view(struct phy_bitmap *out, enum phy_weight_type type, const void *data, size_t rows, size_t cols);
/* Bytes of a matrix with so many values; false when they overflow or the count does not fit its 32 bits. */
bool phy_bitmap_bytes(const struct phy_bitmap *bitmap, uint64_t values, uint64_t *bytes);

/* Whether `bytes` bytes at its data are such a matrix: sizes, counts and bits agree, no bit beyond the columns, zeros
 * where they are wanted. Before that nothing else may be asked of it. If not, `fact` says what is wrong. */
bool phy_bitmap_check(const struct phy_bitmap *bitmap, uint64_t bytes, char *fact, size_t fact_bytes);

static inline uint64_t phy_bitmap_first(const struct phy_bitmap *bitmap, size_t row)
{
    const uint8_t *at = bitmap->data + 4 * row;
    return at[0] | (uint64_t)at[1] << 8 | (uint64_t)at[2] << 16 | (uint64_t)at[3] << 24;
}
static inline const uint8_t *phy_bitmap_bits(const struct phy_bitmap *bitmap, size_t row)
{
    return bitmap->data + bitmap->bits_at + 8 * row * bitmap->words;
}
static inline const uint8_t *phy_bitmap_values(const struct phy_bitmap *bitmap, size_t row)
{
    return bitmap->data + bitmap->values_at + phy_bitmap_first(bitmap, row) * phy_weight_float_bytes(bitmap->value);
}

/* How many of `count` codes, whose type is `value`, are not +0. */
uint64_t phy_bitmap_count(enum phy_weight_type value, const void *codes, uint64_t count);
/* A row of `cols` codes to its words and values; returns how many values. `bits` NULL: only counts. */
size_t phy_bitmap_encode_row(enum phy_weight_type value, const uint8_t *codes, size_t cols, uint8_t *bits,
                             uint8_t *values);
void phy_bitmap_decode_row(const struct phy_bitmap *bitmap, size_t row, float *out);

#endif
