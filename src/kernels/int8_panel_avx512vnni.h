/* SPDX-License-Identifier: Apache-2.0 */
/* What the AVX-512 VNNI and the AMX products of many rows of x share: 16 rows of w are turned so that a vector, or a
 * row of a tile, holds four neighbouring codes of each. */
#ifndef PHY_KERNELS_INT8_PANEL_AVX512VNNI_H
#define PHY_KERNELS_INT8_PANEL_AVX512VNNI_H

#include <assert.h>
#include <string.h>

#include "kernels/int8_avx512vnni.h"

enum { PANEL_ROWS = 16, PANELS = 2 };

/* 16 rows of w and 256 columns. */
struct panel {
    uint8_t codes[PHY_INT8_GROUP / 4][PANEL_ROWS][4];
    int32_t scale[PHY_INT8_GROUP_SUMS][PANEL_ROWS]; /* of each 16 (q6_K) or 32 columns (q4_K: the first 8) */
    int16_t minima[4][PANEL_ROWS][2];               /* q4_K: of each two of the 32s */
    union {
        float d[PHY_INT8_GROUP / GROUP][PANEL_ROWS]; /* q8_0: of each 32 columns; q6_K: the first */
        double d_dmin[2][2][PANEL_ROWS / 2];         /* q4_K: rows in the order of quarters() */
    };
};
static_assert(PANELS * PANEL_ROWS == PHY_INT8_PANEL_ROWS, "rows that are taken at a time");

/* ---- packing ---- */

/* rows[i] dword k becomes rows[k] dword i. */
INLINE void turn(__m512i rows[PANEL_ROWS])
{
    vec lanes[PANEL_ROWS];
    UNROLL
    for (size_t i = 0; i < PANEL_ROWS; i++)
        lanes[i] = _mm512_castsi512_ps(rows[i]);
    vec_transpose(lanes);
    UNROLL
    for (size_t i = 0; i < PANEL_ROWS; i++)
        rows[i] = _mm512_castps_si512(lanes[i]);
}

/* 64 bytes of each row, turned. */
INLINE void load_turned(const uint8_t *const w[PANEL_ROWS], size_t at, __m512i rows[PANEL_ROWS])
{
    UNROLL
    for (size_t i = 0; i < PANEL_ROWS; i++)
        rows[i] = load64(w[i] + at);
    turn(rows);
}

INLINE void store_quad(struct panel *panel, size_t quad, __m512i codes)
{
    _mm512_store_si512(panel->codes[quad], codes);
}

/* 16 bytes of each row, four rows to a vector: to[k] is dword k of all rows. */
INLINE void turn_sixteens(const __m512i rows[PANEL_ROWS / 4], __m512i to[4])
{
    const __m512i even = _mm512_set_epi32(29, 25, 21, 17, 13, 9, 5, 1, 28, 24, 20, 16, 12, 8, 4, 0);
    const __m512i odd = _mm512_add_epi32(even, _mm512_set1_epi32(2));
    const __m512i a = _mm512_permutex2var_epi32(rows[0], even, rows[1]);
    const __m512i b = _mm512_permutex2var_epi32(rows[2], even, rows[3]);
    const __m512i c = _mm512_permutex2var_epi32(rows[0], odd, rows[1]);
    const __m512i d = _mm512_permutex2var_epi32(rows[2], odd, rows[3]);
    to[0] = _mm512_shuffle_i64x2(a, b, 0x44);
    to[1] = _mm512_shuffle_i64x2(a, b, 0xEE);
    to[2] = _mm512_shuffle_i64x2(c, d, 0x44);
    to[3] = _mm512_shuffle_i64x2(c, d, 0xEE);
}

INLINE vec low_halves(__m512i dwords)
{
    return _mm512_cvtph_ps(_mm512_cvtepi32_epi16(dwords));
}

/* Of rows 0 .. 15: as unpacklo of dwords takes them, then as unpackhi does. */
INLINE __m512i quarters(void)
{
    return _mm512_set_epi32(15, 14, 11, 10, 7, 6, 3, 2, 13, 12, 9, 8, 5, 4, 1, 0);
}

INLINE __m512i back_from_quarters(void)
{
    return _mm512_set_epi32(15, 14, 7, 6, 13, 12, 5, 4, 11, 10, 3, 2, 9, 8, 1, 0);
}

INLINE void store_doubles(double to[2][PANEL_ROWS / 2], vec from)
{
    const vec ordered = _mm512_permutexvar_ps(quarters(), from);
    _mm512_store_pd(to[0], _mm512_cvtps_pd(_mm512_castps512_ps256(ordered)));
    _mm512_store_pd(to[1], _mm512_cvtps_pd(_mm512_extractf32x8_ps(ordered, 1)));
}

/* Dwords 0 are d and dmin. */
INLINE void pack_scales_q4_k(const uint8_t *const w[PANEL_ROWS], struct panel *panel)
{
    __m512i heads[4], bytes[4], turned[4];
    UNROLL
    for (size_t i = 0; i < 4; i++) {
        heads[i] = load_four(w + 4 * i, 0);
        bytes[i] = scales_q4_k(heads[i]);
    }
    turn_sixteens(heads, turned);
    store_doubles(panel->d_dmin[0], low_halves(turned[0]));
    store_doubles(panel->d_dmin[1], low_halves(_mm512_srli_epi32(turned[0], 16)));
    turn_sixteens(bytes, turned);
    UNROLL
    for (size_t g = 0; g < 8; g++)
        _mm512_store_si512(panel->scale[g],
                           _mm512_and_si512(_mm512_srli_epi32(turned[g / 4], 8 * (g % 4)), _mm512_set1_epi32(0xFF)));
    UNROLL
    for (size_t i = 0; i < 4; i++) { /* bytes 0 and 1, or 2 and 3, of each dword, as words */
        const __m512i dwords = i % 2 ? _mm512_srli_epi32(turned[2 + i / 2], 16) : turned[2 + i / 2];
        const __m512i high = _mm512_and_si512(_mm512_slli_epi32(dwords, 8), _mm512_set1_epi32(0x00FF0000));
        _mm512_store_si512(panel->minima[i], _mm512_ternarylogic_epi32(high, dwords, _mm512_set1_epi32(0xFF), 0xF8));
    }
}

/* A line of 64 bytes holds groups 4c and 4c + 2 in its low nibbles, those that follow each in its high ones. */
INLINE void pack_q4_k(const uint8_t *const w[PANEL_ROWS], struct panel *panel)
{
    const __m512i nibble = _mm512_set1_epi8(0x0F);
    for (size_t c = 0; c < 2; c++) {
        __m512i rows[PANEL_ROWS];
        load_turned(w, 16 + 64 * c, rows);
        UNROLL
        for (size_t k = 0; k < PANEL_ROWS; k++) {
            const size_t quad = 32 * c + 16 * (k / 8) + k % 8;
            store_quad(panel, quad, _mm512_and_si512(rows[k], nibble));
            store_quad(panel, quad + 8, _mm512_and_si512(_mm512_srli_epi16(rows[k], 4), nibble));
        }
    }
    pack_scales_q4_k(w, panel);
}

INLINE void pack_scales_q6_k(const uint8_t *const w[PANEL_ROWS], struct panel *panel)
{
    __m512i bytes[4], turned[4];
    uint16_t halves[PANEL_ROWS];
    UNROLL
    for (size_t i = 0; i < 4; i++)
        bytes[i] = load_four(w + 4 * i, 192);
    turn_sixteens(bytes, turned);
    UNROLL
    for (size_t g = 0; g < PHY_INT8_GROUP_SUMS; g++)
        _mm512_store_si512(panel->scale[g], _mm512_srai_epi32(_mm512_slli_epi32(turned[g / 4], 24 - 8 * (g % 4)), 24));
    for (size_t i = 0; i < PANEL_ROWS; i++)
        halves[i] = phy_load_u16(w[i] + 208);
    vec_store(panel->d[0], _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)halves)));
}

/* (low & nibble) | (high & 0x30) */
INLINE __m512i join_q6_k(__m512i low, __m512i high)
{
    return _mm512_ternarylogic_epi32(_mm512_and_si512(high, _mm512_set1_epi8(0x30)), low, _mm512_set1_epi8(0x0F), 0xF8);
}

INLINE void pack_q6_k(const uint8_t *const w[PANEL_ROWS], struct panel *panel)
{
    __m512i high[PANEL_ROWS], low[PANEL_ROWS];
    load_turned(w, 128, high);
    UNROLL
    for (size_t h = 0; h < 2; h++) {
        load_turned(w, 64 * h, low);
        UNROLL
        for (size_t k = 0; k < 8; k++) { /* four two-bit planes */
            const __m512i planes = high[8 * h + k];
            const size_t quad = 32 * h + k;
            store_quad(panel, quad, join_q6_k(low[k], _mm512_slli_epi16(planes, 4)));
            store_quad(panel, quad + 8, join_q6_k(low[8 + k], _mm512_slli_epi16(planes, 2)));
            store_quad(panel, quad + 16, join_q6_k(_mm512_srli_epi16(low[k], 4), planes));
            store_quad(panel, quad + 24, join_q6_k(_mm512_srli_epi16(low[8 + k], 4), _mm512_srli_epi16(planes, 2)));
        }
    }
    pack_scales_q6_k(w, panel);
}

INLINE void pack_q8_0(const uint8_t *const w[PANEL_ROWS], size_t blocks, struct panel *panel)
{
    uint16_t halves[PHY_INT8_GROUP / GROUP][PANEL_ROWS] = {{0}};
    for (size_t c = 0; c < 4; c++) {
        __m512i rows[PANEL_ROWS];
        UNROLL
        for (size_t i = 0; i < PANEL_ROWS; i++) /* beyond the last block x is zero */
            rows[i] = 2 * c < blocks ? codes_q8_0(w[i] + 2 * c * 34, 2 * c + 1 < blocks) : _mm512_setzero_si512();
        turn(rows);
        UNROLL
        for (size_t k = 0; k < PANEL_ROWS; k++)
            store_quad(panel, 16 * c + k, rows[k]);
    }
    for (size_t i = 0; i < PANEL_ROWS; i++) {
        for (size_t b = 0; b < blocks; b++)
            halves[b][i] = phy_load_u16(w[i] + b * 34);
    }
    UNROLL
    for (size_t b = 0; b < PHY_INT8_GROUP / GROUP; b++)
        vec_store(panel->d[b], _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)halves[b])));
}

INLINE size_t group_bytes(enum phy_weight_type type)
{
    return PHY_INT8_GROUP / block_elements(type) * block_bytes(type);
}

/* Asks for what lies `next` bytes after group g of rows r .. r + rows - 1, into L2. */
INLINE void ask_for_group(const struct phy_int8_matmul *product, enum phy_weight_type type, size_t r, size_t rows,
                          size_t g, ptrdiff_t next)
{
    const size_t stride = row_stride(type, product->x->cols), bytes = group_bytes(type);
    uintptr_t at = (uintptr_t)product->w + r * stride + g * bytes + (uintptr_t)next;
    for (size_t i = 0; i < rows; i++, at += stride) {
        UNROLL
        for (size_t b = 0; b < bytes; b += 64)
            _mm_prefetch((const void *)(at + b), _MM_HINT_T1);
    }
}

/* Rows r .. r + rows - 1 of group g; the last stands in for those beyond. What is packed next, `next` bytes on, is
 * asked for: these are 16 streams of a few lines, which the processor's own prefetching does not see. */
INLINE void pack_panel(const struct phy_int8_matmul *product, enum phy_weight_type type, size_t r, size_t rows,
                       size_t g, ptrdiff_t next, struct panel *panel)
{
    const size_t stride = row_stride(type, product->x->cols), block = block_bytes(type);
    const size_t group_blocks = PHY_INT8_GROUP / block_elements(type);
    const size_t left = stride / block - g * group_blocks, blocks = left < group_blocks ? left : group_blocks;
    const uint8_t *w[PANEL_ROWS];
    for (size_t i = 0; i < PANEL_ROWS; i++)
        w[i] = (const uint8_t *)product->w + (r + (i < rows ? i : rows - 1)) * stride + g * group_blocks * block;
    ask_for_group(product, type, r, PANEL_ROWS, g, next);
    if (type == PHY_WEIGHT_Q4_K)
        pack_q4_k(w, panel);
    else if (type == PHY_WEIGHT_Q6_K)
        pack_q6_k(w, panel);
    else if (blocks == group_blocks) /* the usual loops have constant lengths */
        pack_q8_0(w, PHY_INT8_GROUP / GROUP, panel);
    else
        pack_q8_0(w, blocks, panel);
}

/* Groups that are packed at a time: `all` in equal turns of at most `most`. */
INLINE size_t groups_of_turn(size_t all, size_t most)
{
    const size_t turns = (all + most - 1) / most;
    return (all + turns - 1) / turns;
}

/* Bytes from what the turn of `some` groups from g on packs to what is packed next: the groups that follow, or the
 * first of the rows that do. */
INLINE ptrdiff_t bytes_to_next_turn(const struct phy_int8_matmul *product, enum phy_weight_type type, size_t g,
                                    size_t some)
{
    const size_t rows_bytes = PANELS * PANEL_ROWS * row_stride(type, product->x->cols);
    return g + some < product->x->groups ? (ptrdiff_t)(some * group_bytes(type))
                                         : (ptrdiff_t)rows_bytes - (ptrdiff_t)(g * group_bytes(type));
}

/* ---- q4_K's results ---- */

/* Integers to which 2^31 was added, in float64: as the low half of 2^52 they are a number already. */
INLINE __m512d exactly(__m512i lanes, size_t half)
{
    const __m512i high = _mm512_set1_epi32(0x43300000);
    const __m512i bits = half ? _mm512_unpackhi_epi32(lanes, high) : _mm512_unpacklo_epi32(lanes, high);
    return _mm512_sub_pd(_mm512_castsi512_pd(bits), _mm512_set1_pd(0x1p52 + 0x1p31));
}

/* d * lanes - dmin * below, formed in float64: the two may nearly cancel. Rows in the order of quarters(). */
INLINE vec difference(__m512i lanes, __m512i below, const double d_dmin[2][2][PANEL_ROWS / 2])
{
    __m256 half[2];
    UNROLL
    for (size_t h = 0; h < 2; h++) {
        const __m512d off = _mm512_mul_pd(exactly(below, h), _mm512_load_pd(d_dmin[1][h]));
        half[h] = _mm512_cvtpd_ps(_mm512_fmsub_pd(exactly(lanes, h), _mm512_load_pd(d_dmin[0][h]), off));
    }
    return _mm512_insertf32x8(_mm512_castps256_ps512(half[0]), half[1], 1);
}

INLINE __m512i two_sums(const int16_t *sums, size_t i)
{
    int32_t two;
    memcpy(&two, sums + 2 * i, sizeof two);
    return _mm512_set1_epi32(two);
}

#endif
