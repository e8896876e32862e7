/* SPDX-License-Identifier: Apache-2.0 */
/* Products of many rows of x. 16 rows of w are turned so that a vector holds four neighbouring codes of each; two such
 * panels meet four rows of x, of which four codes are broadcast: lanes are rows of w, and nothing is added up across
 * them. Zen 4 begins one product of bytes a cycle and multiplies by scales with the same units: 64 products, 8 scales
 * and 9 more operations are what 16 rows of q4_K, 256 columns and a row of x take at best. */
#include <assert.h>
#include <string.h>

#include "kernels/int8_avx512vnni.h"

enum { PANEL_ROWS = 16, PANELS = 2, TILE_X = 4, TILE = PANELS * TILE_X, MOST_GROUPS = PHY_INT8_PANEL_GROUPS };

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
static_assert(sizeof(struct panel) * PANELS * MOST_GROUPS <= PHY_INT8_PANEL_BYTES, "panels fit the scratch");
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

/* Rows r .. r + rows - 1 of group g; the last stands in for those beyond. What is packed next, `next` bytes on, is
 * asked for into L2: these are 16 streams of a few lines, which the processor's own prefetching does not see. */
INLINE void pack_panel(const struct phy_int8_matmul *product, enum phy_weight_type type, size_t r, size_t rows,
                       size_t g, ptrdiff_t next, struct panel *panel)
{
    const size_t stride = row_stride(type, product->x->cols), block = block_bytes(type);
    const size_t group_blocks = PHY_INT8_GROUP / block_elements(type);
    const size_t left = stride / block - g * group_blocks, blocks = left < group_blocks ? left : group_blocks;
    const uint8_t *w[PANEL_ROWS];
    for (size_t i = 0; i < PANEL_ROWS; i++)
        w[i] = (const uint8_t *)product->w + (r + (i < rows ? i : rows - 1)) * stride + g * group_blocks * block;
    for (size_t i = 0; i < PANEL_ROWS; i++) {
        UNROLL
        for (size_t b = 0; b < group_blocks * block; b += 64)
            _mm_prefetch((const char *)w[i] + next + b, _MM_HINT_T1);
    }
    if (type == PHY_WEIGHT_Q4_K)
        pack_q4_k(w, panel);
    else if (type == PHY_WEIGHT_Q6_K)
        pack_q6_k(w, panel);
    else if (blocks == group_blocks) /* the usual loops have constant lengths */
        pack_q8_0(w, PHY_INT8_GROUP / GROUP, panel);
    else
        pack_q8_0(w, blocks, panel);
}

/* ---- multiplying ---- */

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

/* Integers to which 2^31 was added, in float64: as the low half of 2^52 they are a number already. */
INLINE __m512d exactly(__m512i lanes, size_t half)
{
    const __m512i high = _mm512_set1_epi32(0x43300000);
    const __m512i bits = half ? _mm512_unpackhi_epi32(lanes, high) : _mm512_unpacklo_epi32(lanes, high);
    return _mm512_sub_pd(_mm512_castsi512_pd(bits), _mm512_set1_pd(0x1p52 + 0x1p31));
}

/* d * lanes - dmin * below, formed in float64: the two may nearly cancel. Rows in the order of quarters(). */
INLINE vec difference(__m512i lanes, __m512i below, const struct panel *panel)
{
    __m256 half[2];
    UNROLL
    for (size_t h = 0; h < 2; h++) {
        const __m512d off = _mm512_mul_pd(exactly(below, h), _mm512_load_pd(panel->d_dmin[1][h]));
        half[h] = _mm512_cvtpd_ps(_mm512_fmsub_pd(exactly(lanes, h), _mm512_load_pd(panel->d_dmin[0][h]), off));
    }
    return _mm512_insertf32x8(_mm512_castps256_ps512(half[0]), half[1], 1);
}

INLINE __m512i two_sums(const int16_t *sums, size_t i)
{
    int32_t two;
    memcpy(&two, sums + 2 * i, sizeof two);
    return _mm512_set1_epi32(two);
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
        sum[i] = vec_fma(difference(total[i], below, panel), vec_set1(x->scale[row]), sum[i]);
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
};

/* Added to y, which the first group overwrites. */
INLINE void tile(const struct phy_int8_matmul *product, const struct turn *turn, size_t panels, size_t count, size_t n)
{
    const struct tile_shape shape = {panels, count, panels * count};
    const struct phy_int8_rows *x = product->x;
    const __m512i back = _mm512_set_epi32(15, 14, 7, 6, 13, 12, 5, 4, 11, 10, 3, 2, 9, 8, 1, 0); /* from quarters() */
    const uint32_t used = turn->rows < PHY_INT8_PANEL_ROWS ? (1u << turn->rows) - 1 : UINT32_MAX;
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
    }
    UNROLL
    for (size_t i = 0; i < shape.sums; i++) {
        const size_t p = i / count, at = i % count * product->y_stride + PANEL_ROWS * p;
        if (turn->type == PHY_WEIGHT_Q4_K)
            sum[i] = _mm512_permutexvar_ps(back, sum[i]);
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
    const size_t all = product->x->groups, stride = row_stride(type, product->x->cols);
    const size_t group_bytes = PHY_INT8_GROUP / block_elements(type) * block_bytes(type);
    const size_t steps = (all + MOST_GROUPS - 1) / MOST_GROUPS, step = (all + steps - 1) / steps;
    for (size_t g = 0; g < all; g += step) {
        const struct turn turn = {type, panels, r, rows, g, all - g < step ? all - g : step};
        /* Bytes to what is packed next: the groups that follow, or the first of the rows that do */
        const ptrdiff_t next = g + step < all
                                   ? (ptrdiff_t)(step * group_bytes)
                                   : (ptrdiff_t)(PANELS * PANEL_ROWS * stride) - (ptrdiff_t)(g * group_bytes);
        for (size_t i = 0; i < turn.groups; i++) {
            for (size_t p = 0; p * PANEL_ROWS < rows; p++) {
                const size_t left = rows - p * PANEL_ROWS;
                pack_panel(product, type, r + p * PANEL_ROWS, left < PANEL_ROWS ? left : PANEL_ROWS, g + i, next,
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
