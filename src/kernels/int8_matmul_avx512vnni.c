/* SPDX-License-Identifier: Apache-2.0 */
/* Products of many rows of x. 16 rows of w are turned so that a vector holds four neighbouring codes of each; two such
 * panels meet four rows of x, of which four codes are broadcast: lanes are rows of w, and nothing is added up across
 * them. Zen 4 begins one product of bytes a cycle and multiplies by scales with the same units: 64 products, 8 scales
 * and 9 more operations are what 16 rows of q4_K, 256 columns and a row of x take at best. */
#include <assert.h>
#include <string.h>

#include "kernels/int8_panel_avx512vnni.h"

enum { TILE_X = 4, TILE = PANELS * TILE_X, MOST_GROUPS = PHY_INT8_PANEL_GROUPS };
static_assert(sizeof(struct panel) * PANELS * MOST_GROUPS <= PHY_INT8_PANEL_BYTES, "panels fit the scratch");

/* Sums of `panels` panels with `count` rows of x: constants where it is inlined. Number i belongs to panel i / count
 * and row i % count. */
struct tile_shape {
    size_t panels, count, sums;
};

/* A group of the rows of x in a tile: row j's is `stride` groups after row j - 1's. */
struct tile_x {
    const int8_t *q;
    const float *scale;
    const struct phy_int8_sums *sums;
    size_t stride;
};

/* Codes of `steps` times four columns from step k. */
INLINE void add_steps(const struct panel *panels, struct tile_shape shape, size_t k, size_t steps,
                      const struct tile_x *x, __m512i part[TILE])
{
    UNROLL
    for (size_t s = k; s < k + steps; s++) {
        __m512i codes[PANELS];
        UNROLL
        for (size_t p = 0; p < shape.panels; p++)
            codes[p] = _mm512_load_si512(panels[p].codes[s]);
        UNROLL
        for (size_t j = 0; j < shape.count; j++) {
            int32_t four;
            memcpy(&four, x->q + j * x->stride * PHY_INT8_GROUP + 4 * s, sizeof four);
            const __m512i fours = _mm512_set1_epi32(four);
            UNROLL
            for (size_t p = 0; p < shape.panels; p++)
                part[p * shape.count + j] = _mm512_dpbusd_epi32(part[p * shape.count + j], codes[p], fours);
        }
    }
}

INLINE void add_scaled(const struct panel *panels, struct tile_shape shape, size_t g, __m512i part[TILE],
                       __m512i total[TILE])
{
    UNROLL
    for (size_t i = 0; i < shape.sums; i++)
        total[i] = _mm512_add_epi32(total[i],
                                    _mm512_mullo_epi32(part[i], _mm512_load_si512(panels[i / shape.count].scale[g])));
}

INLINE void tile_q4_k(const struct panel *panels, struct tile_shape shape, const struct tile_x *x, vec sum[TILE])
{
    __m512i total[TILE];
    UNROLL
    for (size_t i = 0; i < shape.sums; i++)
        total[i] = _mm512_set1_epi32(INT32_MIN);
    for (size_t g = 0; g < PHY_INT8_GROUP / GROUP; g++) {
        __m512i part[TILE];
        UNROLL
        for (size_t i = 0; i < shape.sums; i++)
            part[i] = _mm512_setzero_si512();
        add_steps(panels, shape, g * GROUP / 4, GROUP / 4, x, part);
        add_scaled(panels, shape, g, part, total);
    }
    UNROLL
    for (size_t i = 0; i < shape.sums; i++) {
        const struct panel *panel = &panels[i / shape.count];
        const size_t row = i % shape.count * x->stride;
        __m512i below = _mm512_set1_epi32(INT32_MIN);
        UNROLL
        for (size_t g = 0; g < 4; g++)
            below = _mm512_dpwssd_epi32(below, _mm512_load_si512(panel->minima[g]), two_sums(x->sums[row].of_32, g));
        sum[i] = vec_fma(difference(total[i], below, panel->d_dmin), vec_set1(x->scale[row]), sum[i]);
    }
}

INLINE void tile_q6_k(const struct panel *panels, struct tile_shape shape, const struct tile_x *x, vec sum[TILE])
{
    __m512i total[TILE];
    UNROLL
    for (size_t i = 0; i < shape.sums; i++)
        total[i] = _mm512_setzero_si512();
    for (size_t g = 0; g < PHY_INT8_GROUP_SUMS; g++) {
        __m512i part[TILE];
        UNROLL
        for (size_t i = 0; i < shape.sums; i++)
            part[i] = _mm512_set1_epi32(x->sums[i % shape.count * x->stride].less_32[g]);
        add_steps(panels, shape, g * PHY_INT8_SUM / 4, PHY_INT8_SUM / 4, x, part);
        add_scaled(panels, shape, g, part, total);
    }
    UNROLL
    for (size_t i = 0; i < shape.sums; i++)
        sum[i] = vec_fma(
            _mm512_cvtepi32_ps(total[i]),
            vec_mul(vec_load(panels[i / shape.count].d[0]), vec_set1(x->scale[i % shape.count * x->stride])), sum[i]);
}

INLINE void tile_q8_0(const struct panel *panels, struct tile_shape shape, const struct tile_x *x, vec sum[TILE])
{
    vec total[TILE];
    UNROLL
    for (size_t i = 0; i < shape.sums; i++)
        total[i] = vec_zero();
    for (size_t b = 0; b < PHY_INT8_GROUP / GROUP; b++) {
        __m512i part[TILE];
        UNROLL
        for (size_t i = 0; i < shape.sums; i++)
            part[i] = _mm512_set1_epi32(x->sums[i % shape.count * x->stride].less_128[b]);
        add_steps(panels, shape, b * GROUP / 4, GROUP / 4, x, part);
        UNROLL
        for (size_t i = 0; i < shape.sums; i++)
            total[i] = vec_fma(_mm512_cvtepi32_ps(part[i]), vec_load(panels[i / shape.count].d[b]), total[i]);
    }
    UNROLL
    for (size_t i = 0; i < shape.sums; i++)
        sum[i] = vec_fma(total[i], vec_set1(x->scale[i % shape.count * x->stride]), sum[i]);
}

/* Some groups of the rows of w in a turn of the loops below. */
struct turn {
    enum phy_weight_type type;
    const struct panel *panels; /* [groups][PANELS] */
    size_t r, rows, g, groups;
    ptrdiff_t next; /* bytes to what the next turn packs */
};

/* Added to y, which the first group overwrites. What is packed next is asked for again, a share of its rows by each
 * tile: in packing, too much was on its way for the processor to remember all of it (Zen 4, 8 rows of x, from memory:
 * q8_0 and q6_K 1.1 to 1.3 times as fast, q4_K 0.98 to 1.12). */
INLINE void tile(const struct phy_int8_matmul *product, const struct turn *turn, size_t panels, size_t count, size_t n)
{
    const struct tile_shape shape = {panels, count, panels * count};
    const struct phy_int8_rows *x = product->x;
    const uint32_t used = turn->rows < PHY_INT8_PANEL_ROWS ? (1u << turn->rows) - 1 : UINT32_MAX;
    const size_t ask_first = PHY_INT8_PANEL_ROWS * n / x->count, ask_end = PHY_INT8_PANEL_ROWS * (n + count) / x->count;
    float *y = product->y + n * product->y_stride + turn->r;
    vec sum[TILE];
    UNROLL
    for (size_t i = 0; i < shape.sums; i++) {
        const size_t p = i / count, at = i % count * product->y_stride + PANEL_ROWS * p;
        sum[i] = turn->g ? _mm512_maskz_loadu_ps((__mmask16)(used >> PANEL_ROWS * p), y + at) : vec_zero();
        if (turn->type == PHY_WEIGHT_Q4_K)
            sum[i] = _mm512_permutexvar_ps(quarters(), sum[i]);
    }
    for (size_t i = 0; i < turn->groups; i++) {
        const size_t at = n * x->groups + turn->g + i;
        const struct tile_x part = {x->q + at * PHY_INT8_GROUP, x->scale + at, x->sums + at, x->groups};
        if (turn->type == PHY_WEIGHT_Q4_K)
            tile_q4_k(&turn->panels[PANELS * i], shape, &part, sum);
        else if (turn->type == PHY_WEIGHT_Q6_K)
            tile_q6_k(&turn->panels[PANELS * i], shape, &part, sum);
        else
            tile_q8_0(&turn->panels[PANELS * i], shape, &part, sum);
        if (!product->cached)
            ask_for_group(product, turn->type, turn->r + ask_first, ask_end - ask_first, turn->g + i, turn->next);
    }
    UNROLL
    for (size_t i = 0; i < shape.sums; i++) {
        const size_t p = i / count, at = i % count * product->y_stride + PANEL_ROWS * p;
        if (turn->type == PHY_WEIGHT_Q4_K)
            sum[i] = _mm512_permutexvar_ps(back_from_quarters(), sum[i]);
        _mm512_mask_storeu_ps(y + at, (__mmask16)(used >> PANEL_ROWS * p), sum[i]);
    }
}

INLINE void tiles(const struct phy_int8_matmul *product, const struct turn *turn, size_t panels)
{
    const size_t count = product->x->count;
    size_t n = 0;
    for (; n + TILE_X <= count; n += TILE_X)
        tile(product, turn, panels, TILE_X, n);
    for (; n + 2 <= count; n += 2)
        tile(product, turn, panels, 2, n);
    for (; n < count; n++)
        tile(product, turn, panels, 1, n);
}

/* `panels` has room for MOST_GROUPS groups of PANELS panels. y is read and written once for all of them: its rows are
 * far apart, at distances by which cache lines are driven out. */
INLINE void matmul_rows(const struct phy_int8_matmul *product, enum phy_weight_type type, size_t r, size_t rows,
                        struct panel *panels)
{
    const size_t all = product->x->groups, step = groups_of_turn(all, MOST_GROUPS);
    for (size_t g = 0; g < all; g += step) {
        const struct turn turn = {
            type, panels, r, rows, g, all - g < step ? all - g : step, bytes_to_next_turn(product, type, g, step)};
        for (size_t i = 0; i < turn.groups; i++) {
            for (size_t p = 0; p * PANEL_ROWS < rows; p++) {
                const size_t left = rows - p * PANEL_ROWS;
                pack_panel(product, type, r + p * PANEL_ROWS, left < PANEL_ROWS ? left : PANEL_ROWS, g + i, turn.next,
                           &panels[PANELS * i + p]);
            }
        }
        if (rows > PANEL_ROWS)
            tiles(product, &turn, PANELS);
        else
            tiles(product, &turn, 1);
    }
}

INLINE void matmul_typed(const struct phy_int8_matmul *product, enum phy_weight_type type, size_t row_begin,
                         size_t row_end, struct panel *panels)
{
    for (size_t r = row_begin; r < row_end; r += PANELS * PANEL_ROWS) {
        const size_t left = row_end - r;
        matmul_rows(product, type, r, left < PANELS * PANEL_ROWS ? left : PANELS * PANEL_ROWS, panels);
    }
}

void INT8_FORM(phy_int8_matmul)(const struct phy_int8_matmul *product, size_t row_begin, size_t row_end, void *panel)
{
#define TYPED(type) matmul_typed(product, type, row_begin, row_end, panel)
    PHY_INT8_FOR_TYPE(product->type, TYPED)
#undef TYPED
}
