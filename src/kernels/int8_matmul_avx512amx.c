/* SPDX-License-Identifier: Apache-2.0 */
/* Products of many rows of x by tiles of AMX: rows of x, as they lie, are A's, panels of 16 rows of w are B's, so that
 * a row of a result holds, as a vector of int8_matmul_avx512vnni.c does, 16 rows of w for one row of x. All integers
 * are exact, and the float operations are that file's in its order: the bits are the same.
 *
 * A product of tiles costs the same for 16, 32 or 64 columns, and its results pass through memory. So q4_K's and
 * q6_K's codes are multiplied by the integer scales of their 16 or 32 columns beforehand, once for all rows of x:
 *
 *   scale * code = 256 * high + low;  low in 0 .. 255, high in 0 .. 3 (q4_K) or -16 .. 16 (q6_K)
 *
 * as |scale * code| <= 63 * 15 or 128 * 32. Two sums over all 256 columns then replace eight or sixteen, and the
 * scaling of each. q8_0's scales are floats: a result for each 32 columns.
 *
 * While the tiles multiply, AVX-512 scales the results of the unit before. */
#include <assert.h>
#include <string.h>

#include "kernels/amx_tiles.h"
#include "kernels/int8_panel_avx512vnni.h"

/* As many groups of two panels as fit the scratch beside the results. */
enum { X_TILES = 2, STEPS = 4, STEP_COLS = PHY_INT8_GROUP / STEPS, MOST_GROUPS = 8 };
/* Up to so many rows of x, scaling the codes of a panel takes longer than the tiles gain: by the count of their
 * instructions, not measured. */
enum { VNNI_COUNT = 8 };

/* 16 rows of w and 256 columns. */
struct tile_panel {
    uint8_t low[PHY_INT8_GROUP / 4][PANEL_ROWS][4];  /* q8_0: the codes */
    uint8_t high[PHY_INT8_GROUP / 4][PANEL_ROWS][4]; /* signed */
    int16_t minima[4][PANEL_ROWS][2];                /* these are struct panel's */
    union {
        float d[PHY_INT8_GROUP / GROUP][PANEL_ROWS];
        double d_dmin[2][2][PANEL_ROWS / 2];
    };
};

/* Results of one panel with X_TILES tiles of x; sum 0 is that of low and 1 of high, or of each 32 columns of q8_0. */
struct results {
    int32_t sum[PHY_INT8_GROUP / GROUP][X_TILES][TILE_ROWS][PANEL_ROWS];
};

struct scratch {
    struct tile_panel panels[MOST_GROUPS][PANELS];
    struct results results[2]; /* of this unit, and of the one before */
    float y[PANELS][X_TILES][TILE_ROWS][PANEL_ROWS];
    struct panel packed;
};
static_assert(sizeof(struct scratch) <= PHY_INT8_PANEL_BYTES, "a thread's scratch is too small");

/* ---- panels ---- */

/* Products of bytes with scales that each dword holds twice, as words: their low and high bytes. */
INLINE void scale_codes(__m512i codes, __m512i scales, uint8_t low[PANEL_ROWS][4], uint8_t high[PANEL_ROWS][4],
                        __m512i less)
{
    const __m512i byte = _mm512_set1_epi16(0xFF);
    const __m512i even = _mm512_mullo_epi16(_mm512_sub_epi16(_mm512_and_si512(codes, byte), less), scales);
    const __m512i odd = _mm512_mullo_epi16(_mm512_sub_epi16(_mm512_srli_epi16(codes, 8), less), scales);
    /* Of each word: (odd << 8) | (even & byte); (odd & ~byte) | (even >> 8) */
    _mm512_store_si512(low, _mm512_ternarylogic_epi32(_mm512_slli_epi16(odd, 8), even, byte, 0xF8));
    _mm512_store_si512(high, _mm512_ternarylogic_epi32(_mm512_srli_epi16(even, 8), odd, byte, 0xF4));
}

INLINE void make_tiles(enum phy_weight_type type, const struct panel *from, struct tile_panel *to)
{
    enum { QUADS = PHY_INT8_GROUP / 4 };
    const size_t scale_quads = (type == PHY_WEIGHT_Q6_K ? PHY_INT8_SUM : GROUP) / 4;
    const __m512i less = _mm512_set1_epi16(type == PHY_WEIGHT_Q6_K ? 32 : 0);
    for (size_t k = 0; k < QUADS && type == PHY_WEIGHT_Q8_0; k++) /* the sign bits as they were */
        _mm512_store_si512(to->low[k],
                           _mm512_xor_si512(_mm512_load_si512(from->codes[k]), _mm512_set1_epi8((char)0x80)));
    for (size_t k = 0; k < QUADS && type != PHY_WEIGHT_Q8_0; k += scale_quads) {
        const __m512i dwords = _mm512_load_si512(from->scale[k / scale_quads]);
        const __m512i scales = _mm512_mask_blend_epi16(0xAAAAAAAA, dwords, _mm512_slli_epi32(dwords, 16));
        UNROLL
        for (size_t i = k; i < k + scale_quads; i++)
            scale_codes(_mm512_load_si512(from->codes[i]), scales, to->low[i], to->high[i], less);
    }
    memcpy(to->minima, from->minima, sizeof to->minima);
    memcpy(to->d, from->d, sizeof to->d);
}

/* ---- multiplying ---- */

/* Rows of x that are multiplied together. Where fewer than 16 are left, the last tile begins with rows that one before
 * it had: their results are skipped. */
struct x_tiles {
    const struct phy_int8_rows *x;
    size_t rows;           /* of each tile */
    size_t begin[X_TILES]; /* the row of x */
    size_t skip[X_TILES];
};

/* One panel and one group of columns. */
struct unit {
    const struct tile_panel *panel;
    size_t group;
    struct results *results;
    float (*y)[TILE_ROWS][PANEL_ROWS];
};

/* Tiles 0 and 1: low and high of the first rows of x, 2 and 3: of the second; 4, 5: x; 6, 7: w. */
INLINE void multiply_scaled(const struct unit *unit, size_t tiles, const int8_t *const x[X_TILES], size_t x_stride,
                            size_t step)
{
    enum { QUADS = STEP_COLS / 4 };
    if (step == 0) {
        _tile_zero(0);
        _tile_zero(1);
    }
    if (step == 0 && tiles > 1) {
        _tile_zero(2);
        _tile_zero(3);
    }
    _tile_loadd(4, x[0] + step * STEP_COLS, x_stride);
    _tile_loadd(6, unit->panel->low[step * QUADS], TILE_ROW_BYTES);
    _tile_dpbsud(0, 4, 6);
    _tile_loadd(7, unit->panel->high[step * QUADS], TILE_ROW_BYTES);
    _tile_dpbssd(1, 4, 7);
    if (tiles > 1) {
        _tile_loadd(5, x[1] + step * STEP_COLS, x_stride);
        _tile_dpbsud(2, 5, 6);
        _tile_dpbssd(3, 5, 7);
    }
    if (step + 1 < STEPS)
        return;
    _tile_stored(0, unit->results->sum[0][0], TILE_ROW_BYTES);
    _tile_stored(1, unit->results->sum[1][0], TILE_ROW_BYTES);
    if (tiles > 1) {
        _tile_stored(2, unit->results->sum[0][1], TILE_ROW_BYTES);
        _tile_stored(3, unit->results->sum[1][1], TILE_ROW_BYTES);
    }
}

/* Tiles 0 and 1: the first block of 32 columns of both tiles of x, 2 and 3: the second; 4, 5: x; 6, 7: w. */
INLINE void multiply_q8_0(const struct unit *unit, size_t tiles, const int8_t *const x[X_TILES], size_t x_stride,
                          size_t step)
{
    const size_t b = 2 * step, quads = GROUP / 4;
    _tile_zero(0);
    _tile_zero(2);
    _tile_loadd(4, x[0] + b * GROUP, x_stride);
    _tile_loadd(6, unit->panel->low[b * quads], TILE_ROW_BYTES);
    _tile_dpbssd(0, 4, 6);
    _tile_loadd(4, x[0] + (b + 1) * GROUP, x_stride);
    _tile_loadd(7, unit->panel->low[(b + 1) * quads], TILE_ROW_BYTES);
    _tile_dpbssd(2, 4, 7);
    if (tiles > 1) {
        _tile_zero(1);
        _tile_zero(3);
        _tile_loadd(5, x[1] + b * GROUP, x_stride);
        _tile_dpbssd(1, 5, 6);
        _tile_loadd(5, x[1] + (b + 1) * GROUP, x_stride);
        _tile_dpbssd(3, 5, 7);
        _tile_stored(1, unit->results->sum[b][1], TILE_ROW_BYTES);
        _tile_stored(3, unit->results->sum[b + 1][1], TILE_ROW_BYTES);
    }
    _tile_stored(0, unit->results->sum[b][0], TILE_ROW_BYTES);
    _tile_stored(2, unit->results->sum[b + 1][0], TILE_ROW_BYTES);
}

INLINE void multiply(const struct x_tiles *of, enum phy_weight_type type, const struct unit *unit, size_t tiles,
                     size_t step)
{
    const size_t x_stride = of->x->groups * PHY_INT8_GROUP;
    const int8_t *x[X_TILES];
    for (size_t t = 0; t < tiles; t++)
        x[t] = of->x->q + of->begin[t] * x_stride + unit->group * PHY_INT8_GROUP;
    if (type == PHY_WEIGHT_Q8_0)
        multiply_q8_0(unit, tiles, x, x_stride, step);
    else
        multiply_scaled(unit, tiles, x, x_stride, step);
}

/* ---- scaling ---- */

INLINE __m512i whole_sum(const struct results *results, size_t t, size_t i)
{
    const __m512i high = _mm512_load_si512(results->sum[1][t][i]);
    return _mm512_add_epi32(_mm512_load_si512(results->sum[0][t][i]), _mm512_slli_epi32(high, 8));
}

/* Row i of tile t; it is row n of x. */
INLINE void scale_row(const struct x_tiles *of, enum phy_weight_type type, const struct unit *unit, size_t t, size_t i)
{
    const struct tile_panel *panel = unit->panel;
    const size_t at = (of->begin[t] + i) * of->x->groups + unit->group;
    const vec scale = vec_set1(of->x->scale[at]);
    vec sum = vec_load(unit->y[t][i]);
    if (type == PHY_WEIGHT_Q4_K) {
        const __m512i bias = _mm512_set1_epi32(INT32_MIN);
        __m512i below = bias;
        UNROLL
        for (size_t g = 0; g < 4; g++)
            below = _mm512_dpwssd_epi32(below, _mm512_load_si512(panel->minima[g]), two_sums(of->x->sums[at].of_32, g));
        const __m512i total = _mm512_add_epi32(whole_sum(unit->results, t, i), bias);
        sum = vec_fma(difference(total, below, panel->d_dmin), scale, sum);
    } else if (type == PHY_WEIGHT_Q6_K) {
        const __m512i total = whole_sum(unit->results, t, i);
        sum = vec_fma(_mm512_cvtepi32_ps(total), vec_mul(vec_load(panel->d[0]), scale), sum);
    } else {
        vec total = vec_zero();
        UNROLL
        for (size_t b = 0; b < PHY_INT8_GROUP / GROUP; b++)
            total = vec_fma(_mm512_cvtepi32_ps(_mm512_load_si512(unit->results->sum[b][t][i])), vec_load(panel->d[b]),
                            total);
        sum = vec_fma(total, scale, sum);
    }
    vec_store(unit->y[t][i], sum);
}

/* A quarter of the rows of each tile. */
INLINE void scale(const struct x_tiles *of, enum phy_weight_type type, const struct unit *unit, size_t tiles,
                  size_t step)
{
    enum { SOME = TILE_ROWS / STEPS };
    for (size_t t = 0; t < tiles; t++) {
        const size_t end = (step + 1) * SOME < of->rows ? (step + 1) * SOME : of->rows;
        for (size_t i = step * SOME < of->skip[t] ? of->skip[t] : step * SOME; i < end; i++)
            scale_row(of, type, unit, t, i);
    }
}

/* ---- loops ---- */

/* Some groups of the rows of w in a turn of the loops below. */
struct turn {
    size_t r, rows, panels, g, groups;
};

/* The turn's part of y in the scratch, from or to its place; 0 where nothing was added yet. */
INLINE void move_y(const struct phy_int8_matmul *product, enum phy_weight_type type, const struct turn *turn,
                   const struct x_tiles *of, size_t tiles, struct scratch *scratch, bool back)
{
    for (size_t p = 0; p < turn->panels; p++) {
        const size_t left = turn->rows - p * PANEL_ROWS;
        const __mmask16 used = (__mmask16)(left < PANEL_ROWS ? (1u << left) - 1 : 0xFFFF);
        for (size_t t = 0; t < tiles; t++) {
            for (size_t i = of->skip[t]; i < of->rows; i++) {
                float *y = product->y + (of->begin[t] + i) * product->y_stride + turn->r + p * PANEL_ROWS;
                float *at = scratch->y[p][t][i];
                vec sum = back ? vec_load(at) : turn->g ? _mm512_maskz_loadu_ps(used, y) : vec_zero();
                if (type == PHY_WEIGHT_Q4_K)
                    sum = _mm512_permutexvar_ps(back ? back_from_quarters() : quarters(), sum);
                if (back)
                    _mm512_mask_storeu_ps(y, used, sum);
                else
                    vec_store(at, sum);
            }
        }
    }
}

INLINE void multiply_tiles(const struct phy_int8_matmul *product, enum phy_weight_type type, const struct turn *turn,
                           const struct x_tiles *of, size_t tiles, struct scratch *scratch)
{
    const size_t units = turn->groups * turn->panels;
    struct unit now = {0}, before = {0};
    move_y(product, type, turn, of, tiles, scratch, false);
    for (size_t u = 0; u <= units; u++, before = now) {
        if (u < units) {
            const size_t i = u / turn->panels, p = u % turn->panels;
            now = (struct unit){&scratch->panels[i][p], turn->g + i, &scratch->results[u % 2], scratch->y[p]};
        }
        for (size_t step = 0; step < STEPS; step++) {
            if (u < units)
                multiply(of, type, &now, tiles, step);
            if (u > 0)
                scale(of, type, &before, tiles, step);
        }
    }
    move_y(product, type, turn, of, tiles, scratch, true);
}

INLINE void multiply_turn(const struct phy_int8_matmul *product, enum phy_weight_type type, const struct turn *turn,
                          struct scratch *scratch)
{
    const size_t count = product->x->count, rows = count < TILE_ROWS ? count : TILE_ROWS;
    for (size_t n = 0; n < count; n += X_TILES * TILE_ROWS) {
        struct x_tiles of = {product->x, rows, {n, n + TILE_ROWS}, {0, 0}};
        const size_t tiles = count - n > TILE_ROWS ? 2 : 1, last = tiles - 1;
        if (of.begin[last] + rows > count) {
            of.skip[last] = of.begin[last] + rows - count;
            of.begin[last] = count - rows;
        }
        if (tiles == 2)
            multiply_tiles(product, type, turn, &of, 2, scratch);
        else
            multiply_tiles(product, type, turn, &of, 1, scratch);
    }
}

/* As in int8_matmul_avx512vnni.c. */
INLINE void matmul_rows(const struct phy_int8_matmul *product, enum phy_weight_type type, size_t r, size_t rows,
                        struct scratch *scratch)
{
    const size_t all = product->x->groups, step = groups_of_turn(all, MOST_GROUPS);
    for (size_t g = 0; g < all; g += step) {
        const struct turn turn = {r, rows, rows > PANEL_ROWS ? 2 : 1, g, all - g < step ? all - g : step};
        const ptrdiff_t next = bytes_to_next_turn(product, type, g, step);
        for (size_t i = 0; i < turn.groups; i++) {
            for (size_t p = 0; p < turn.panels; p++) {
                const size_t left = rows - p * PANEL_ROWS;
                pack_panel(product, type, r + p * PANEL_ROWS, left < PANEL_ROWS ? left : PANEL_ROWS, g + i, next,
                           &scratch->packed);
                make_tiles(type, &scratch->packed, &scratch->panels[i][p]);
            }
        }
        tiles_see_memory();
        multiply_turn(product, type, &turn, scratch);
    }
}

INLINE void matmul_typed(const struct phy_int8_matmul *product, enum phy_weight_type type, size_t row_begin,
                         size_t row_end, struct scratch *scratch)
{
    const uint8_t x_rows = (uint8_t)(product->x->count < TILE_ROWS ? product->x->count : TILE_ROWS);
    const uint8_t cols = type == PHY_WEIGHT_Q8_0 ? GROUP : STEP_COLS, w_rows = cols / 4;
    const struct tile_shapes shapes = {.palette = 1,
                                       .row_bytes = {64, 64, 64, 64, cols, cols, 64, 64},
                                       .rows = {x_rows, x_rows, x_rows, x_rows, x_rows, x_rows, w_rows, w_rows}};
    configure_tiles(&shapes);
    for (size_t r = row_begin; r < row_end; r += PANELS * PANEL_ROWS) {
        const size_t left = row_end - r;
        matmul_rows(product, type, r, left < PANELS * PANEL_ROWS ? left : PANELS * PANEL_ROWS, scratch);
    }
    _tile_release();
}

void phy_int8_matmul_avx512amx(const struct phy_int8_matmul *product, size_t row_begin, size_t row_end, void *panel)
{
    if (product->x->count <= VNNI_COUNT) {
        phy_int8_matmul_avx512vnni(product, row_begin, row_end, panel);
        return;
    }
#define TYPED(type) matmul_typed(product, type, row_begin, row_end, panel)
    PHY_INT8_FOR_TYPE(product->type, TYPED)
#undef TYPED
}
