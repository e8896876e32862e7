/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <string.h>

#include "kernels/block_unpack.h"
#include "kernels/int8_matmul_forms.h"
#include "kernels/vec_avx512.h"
#include "kernels/vec_math.h"

#define INT8_FORM(name) name##_avx512vnni

/* Where large products cancel (codes and the minima or the 32 that are taken off), sums go on in float64: the integers
 * are exact, and so is the tolerance kept however small the difference. q8_0 has no such difference. */
struct total {
    __m512d exact;
    vec sum;
};

INLINE struct total total_zero(void)
{
    return (struct total){_mm512_setzero_pd(), vec_zero()};
}

/* One of the two is zero. */
INLINE float total_sum(struct total total)
{
    return (float)_mm512_reduce_add_pd(total.exact) + vec_sum(total.sum);
}

INLINE int store_codes(int8_t *to, const vec *scaled)
{
    const __m512i codes = _mm512_cvtps_epi32(*scaled);
    _mm_storeu_si128((__m128i *)to, _mm512_cvtsepi32_epi8(codes));
    return _mm512_reduce_add_epi32(codes);
}

INLINE __m512i load64(const void *at)
{
    return _mm512_loadu_si512(at);
}

INLINE __m512i twice(const void *at)
{
    return _mm512_broadcast_i64x4(_mm256_loadu_si256(at));
}

/* First the 32 bytes of words of the low half, then of the high. */
INLINE __m512i halves16(short low, short high)
{
    return _mm512_inserti64x4(_mm512_set1_epi16(low), _mm256_set1_epi16(high), 1);
}

/* Unsigned codes of elements 64c .. 64c + 63 of a block of 256: 0 .. 15 or 0 .. 63. */
INLINE __m512i codes_q4_k(const uint8_t *block, size_t c)
{
    return _mm512_and_si512(_mm512_srlv_epi16(twice(block + 16 + 32 * c), halves16(0, 4)), _mm512_set1_epi8(0x0F));
}

INLINE __m512i codes_q6_k(const uint8_t *block, size_t c)
{
    const __m512i ql = load64(block + 64 * (c / 2)), qh = twice(block + 128 + 32 * (c / 2));
    const __m512i low = c % 2 ? _mm512_srli_epi16(ql, 4) : ql;
    const __m512i high = c % 2 ? _mm512_srlv_epi16(qh, halves16(0, 2)) : _mm512_sllv_epi16(qh, halves16(4, 2));
    /* (high & 0x30) | (low & 0x0F) */
    return _mm512_ternarylogic_epi32(_mm512_and_si512(high, _mm512_set1_epi8(0x30)), low, _mm512_set1_epi8(0x0F), 0xF8);
}

/* Two blocks of q8_0, or one and zeros, their sign bits turned over: 128 more than the code. */
INLINE __m512i codes_q8_0(const uint8_t *block, bool both)
{
    const __m256i first = _mm256_loadu_si256((const __m256i *)(block + 2));
    const __m512i codes = both ? _mm512_inserti64x4(_mm512_castsi256_si512(first),
                                                    _mm256_loadu_si256((const __m256i *)(block + 34 + 2)), 1)
                               : _mm512_zextsi256_si512(first);
    return _mm512_xor_si512(codes, _mm512_set1_epi8((char)0x80));
}

/* Eight lanes of integers to float64, times a factor, added. */
INLINE __m512d add_exactly(__m256i lanes, double factor, __m512d sum)
{
    return _mm512_fmadd_pd(_mm512_cvtepi32_pd(lanes), _mm512_set1_pd(factor), sum);
}

INLINE __m256i fold(__m512i lanes)
{
    return _mm256_add_epi32(_mm512_castsi512_si256(lanes), _mm512_extracti64x4_epi64(lanes, 1));
}

INLINE double half_value(const uint8_t *at)
{
    return (double)_mm_cvtss_f32(_mm_cvtph_ps(_mm_cvtsi32_si128(phy_load_u16(at))));
}

INLINE void dot_q4_k(const uint8_t *w, const int8_t *paired, const float *scale, const int16_t *sums, size_t stride,
                     size_t count, struct total total[])
{
    uint64_t scale_bytes, minimum_bytes;
    q4_k_scale_bytes(w, &scale_bytes, &minimum_bytes);
    const __m512i scales = _mm512_set1_epi64((long long)scale_bytes);
    /* m0 m0 m1 m1 ..: a word for each sum of 16 */
    const __m256i minima =
        _mm256_shuffle_epi8(_mm256_set1_epi64x((long long)minimum_bytes),
                            _mm256_set_epi64x((long long)0x8007800780068006, (long long)0x8005800580048004,
                                              (long long)0x8003800380028002, (long long)0x8001800180008000));
    /* d and -dmin */
    const __m128 halves = _mm_cvtph_ps(_mm_cvtsi32_si128((int)phy_load_u32(w)));
    const __m128d d = _mm_cvtps_pd(_mm_xor_ps(halves, _mm_set_ps(0, 0, -0.0f, 0)));
    __m512i part[4];
    UNROLL
    for (size_t j = 0; j < count; j++)
        part[j] = _mm512_setzero_si512();
    /* Words of scales as the packed sums below want them: s0 s1 s0 s1 s2 s3 s2 s3, four of each. */
    const __m512i order =
        _mm512_set_epi64((long long)0x8003800380038003, (long long)0x8002800280028002, (long long)0x8003800380038003,
                         (long long)0x8002800280028002, (long long)0x8001800180018001, (long long)0x8000800080008000,
                         (long long)0x8001800180018001, (long long)0x8000800080008000);
    UNROLL
    for (size_t c = 0; c < 2; c++) {
        const __m512i qs = load64(w + 16 + 64 * c), nibble = _mm512_set1_epi8(0x0F);
        const __m512i even = _mm512_and_si512(qs, nibble); /* groups 4c, 4c + 2 */
        const __m512i odd = _mm512_and_si512(_mm512_srli_epi16(qs, 4), nibble);
        const __m512i words = _mm512_shuffle_epi8(scales, _mm512_add_epi16(order, _mm512_set1_epi16((short)(4 * c))));
        UNROLL
        for (size_t j = 0; j < count; j++) {
            const int8_t *x = paired + j * stride * PHY_INT8_GROUP + 128 * c;
            const __m512i first = _mm512_dpbusd_epi32(_mm512_setzero_si512(), even, load64(x));
            const __m512i second = _mm512_dpbusd_epi32(_mm512_setzero_si512(), odd, load64(x + 64));
            /* Sums of four are at most 4 * 15 * 127. */
            part[j] = _mm512_dpwssd_epi32(part[j], _mm512_packs_epi32(first, second), words);
        }
    }
    UNROLL
    for (size_t j = 0; j < count; j++) {
        const __m256i below =
            _mm256_madd_epi16(minima, _mm256_loadu_si256((const __m256i *)(sums + j * stride * PHY_INT8_GROUP_SUMS)));
        /* In each 128 bits two sums of products, then two of what is taken off. */
        const __m512d lanes = _mm512_cvtepi32_pd(_mm256_hadd_epi32(fold(part[j]), below));
        const __m128d factors = _mm_mul_pd(d, _mm_set1_pd((double)scale[j * stride]));
        total[j].exact = _mm512_fmadd_pd(
            lanes, _mm512_permutexvar_pd(_mm512_set_epi64(1, 1, 0, 0, 1, 1, 0, 0), _mm512_castpd128_pd512(factors)),
            total[j].exact);
    }
}

INLINE void dot_q6_k(const uint8_t *w, const int8_t *x, const float *scale, const int16_t *sums, size_t stride,
                     size_t count, struct total total[])
{
    const __m256i scales = _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)(w + 192)));
    const double d = half_value(w + 208);
    const __m512i eighths = _mm512_set_epi64(0x0003000300030003, 0x0003000300030003, 0x0002000200020002,
                                             0x0002000200020002, 0x0001000100010001, 0x0001000100010001, 0, 0);
    __m512i part[4];
    UNROLL
    for (size_t j = 0; j < count; j++)
        part[j] = _mm512_setzero_si512();
    UNROLL
    for (size_t c = 0; c < 4; c++) {
        /* A scale for each 16 elements: words 4c .. 4c + 3, eight of each. */
        const __m512i index = _mm512_add_epi16(eighths, _mm512_set1_epi16((short)(4 * c)));
        const __m512i codes = codes_q6_k(w, c);
        const __m512i words = _mm512_permutexvar_epi16(index, _mm512_castsi256_si512(scales));
        UNROLL
        for (size_t j = 0; j < count; j++) {
            const __m512i pairs = _mm512_maddubs_epi16(codes, load64(x + j * stride * PHY_INT8_GROUP + 64 * c));
            part[j] = _mm512_dpwssd_epi32(part[j], pairs, words);
        }
    }
    UNROLL
    for (size_t j = 0; j < count; j++) {
        const __m256i offset =
            _mm256_madd_epi16(scales, _mm256_loadu_si256((const __m256i *)(sums + j * stride * PHY_INT8_GROUP_SUMS)));
        const __m256i lanes = _mm256_sub_epi32(fold(part[j]), _mm256_slli_epi32(offset, 5)); /* codes less 32 */
        total[j].exact = add_exactly(lanes, d * (double)scale[j * stride], total[j].exact);
    }
}

/* The scales of two blocks: eight lanes of each. */
INLINE vec scales_q8_0(const uint8_t *block, bool both)
{
    const __m256i first = _mm256_set1_epi16((short)phy_load_u16(block));
    const __m256i second = both ? _mm256_set1_epi16((short)phy_load_u16(block + 34)) : first;
    return _mm512_cvtph_ps(_mm256_blend_epi32(first, second, 0xF0));
}

INLINE void dot_q8_0(const uint8_t *w, size_t blocks, const int8_t *x, const float *scale, size_t stride, size_t count,
                     struct total total[])
{
    vec part[4];
    UNROLL
    for (size_t j = 0; j < count; j++)
        part[j] = vec_zero();
    for (size_t b = 0; b < blocks; b += 2) {
        const bool both = b + 1 < blocks;
        const __m512i codes = codes_q8_0(w + b * 34, both);
        const vec scales = scales_q8_0(w + b * 34, both);
        UNROLL
        for (size_t j = 0; j < count; j++) {
            const __m512i xs = load64(x + j * stride * PHY_INT8_GROUP + 32 * b);
            /* 128 times x, in the lanes in which the codes are 128 too many */
            const __m512i more = _mm512_dpbusd_epi32(_mm512_setzero_si512(), _mm512_set1_epi8((char)0x80), xs);
            const __m512i lanes = _mm512_sub_epi32(_mm512_dpbusd_epi32(_mm512_setzero_si512(), codes, xs), more);
            part[j] = vec_fma(_mm512_cvtepi32_ps(lanes), scales, part[j]);
        }
    }
    UNROLL
    for (size_t j = 0; j < count; j++)
        total[j].sum = vec_fma(part[j], vec_set1(scale[j * stride]), total[j].sum);
}

INLINE void dot_group(enum phy_weight_type type, const uint8_t *w, size_t blocks, const int8_t *x, const int8_t *paired,
                      const float *scale, const int16_t *sums, size_t stride, size_t count, struct total total[])
{
    if (type == PHY_WEIGHT_Q4_K)
        dot_q4_k(w, paired, scale, sums, stride, count, total);
    else if (type == PHY_WEIGHT_Q6_K)
        dot_q6_k(w, x, scale, sums, stride, count, total);
    else if (blocks == PHY_INT8_GROUP / GROUP) /* all of a group: the loop has a constant length */
        dot_q8_0(w, PHY_INT8_GROUP / GROUP, x, scale, stride, count, total);
    else
        dot_q8_0(w, blocks, x, scale, stride, count, total);
}

#include "kernels/int8_matmul_simd.h"

/* ---- many rows of x ---- */

enum { PANEL_ROWS = 16, PANELS = 2, TILE_X = 8 };

/* 16 rows of w and 256 columns, turned so that a vector holds four neighbouring codes of each row. */
struct panel {
    uint8_t codes[PHY_INT8_GROUP / 4][PANEL_ROWS][4];
    int32_t scale[PHY_INT8_GROUP_SUMS][PANEL_ROWS];         /* of each 16 (q6_K) or 32 columns (q4_K: the first 8) */
    int16_t offset[PHY_INT8_GROUP_SUMS / 2][PANEL_ROWS][2]; /* of each two sums of 16: what is taken off */
    float d[PHY_INT8_GROUP / GROUP][PANEL_ROWS];            /* q8_0: of each 32 columns; else the first, then dmin */
};
static_assert(sizeof(struct panel) * PANELS <= PHY_MATMUL_PANEL_BYTES, "panels fit the scratch");

INLINE void turn_codes(struct panel *panel, size_t c, const __m512i rows[PANEL_ROWS])
{
    vec lanes[PANEL_ROWS];
    UNROLL
    for (size_t i = 0; i < PANEL_ROWS; i++)
        lanes[i] = _mm512_castsi512_ps(rows[i]);
    vec_transpose(lanes);
    UNROLL
    for (size_t k = 0; k < PANEL_ROWS; k++)
        _mm512_store_si512(panel->codes[16 * c + k], _mm512_castps_si512(lanes[k]));
}

/* scale[i] holds 16 scales of row i in dwords: those of a block of 256. */
INLINE void turn_scales(struct panel *panel, enum phy_weight_type type, const __m512i rows[PANEL_ROWS])
{
    vec lanes[PANEL_ROWS];
    __m512i turned[PANEL_ROWS];
    UNROLL
    for (size_t i = 0; i < PANEL_ROWS; i++)
        lanes[i] = _mm512_castsi512_ps(rows[i]);
    vec_transpose(lanes);
    UNROLL
    for (size_t i = 0; i < PANEL_ROWS; i++) {
        turned[i] = _mm512_castps_si512(lanes[i]);
        _mm512_store_si512(panel->scale[i], turned[i]);
    }
    UNROLL
    for (size_t i = 0; i < PANEL_ROWS / 2; i++) {
        const __m512i even = type == PHY_WEIGHT_Q4_K ? turned[8 + i] : turned[2 * i];
        const __m512i odd = type == PHY_WEIGHT_Q4_K ? turned[8 + i] : turned[2 * i + 1];
        const __m512i pair = _mm512_mask_blend_epi16(0xAAAAAAAA, even, _mm512_slli_epi32(odd, 16));
        _mm512_store_si512(panel->offset[i], pair);
    }
}

/* Rows r .. r + rows - 1 of group g; the others are zeros. */
INLINE void pack_panel(const struct phy_int8_matmul *product, enum phy_weight_type type, size_t r, size_t rows,
                       size_t g, struct panel *panel)
{
    const size_t row_blocks = (product->x->cols + block_elements(type) - 1) / block_elements(type);
    const size_t group_blocks = PHY_INT8_GROUP / block_elements(type), left = row_blocks - g * group_blocks;
    const size_t blocks = left < group_blocks ? left : group_blocks, stride = row_blocks * block_bytes(type);
    const uint8_t *w = (const uint8_t *)product->w + r * stride + g * group_blocks * block_bytes(type);
    __m512i lines[PANEL_ROWS];
    memset(panel->d, 0, sizeof panel->d);
    for (size_t c = 0; c < 4; c++) {
        for (size_t i = 0; i < PANEL_ROWS; i++) {
            const uint8_t *row = w + i * stride;
            lines[i] = _mm512_setzero_si512();
            if (i >= rows || (type == PHY_WEIGHT_Q8_0 && 2 * c >= blocks))
                continue;
            lines[i] = type == PHY_WEIGHT_Q4_K   ? codes_q4_k(row, c)
                       : type == PHY_WEIGHT_Q6_K ? codes_q6_k(row, c)
                                                 : codes_q8_0(row + 2 * c * 34, 2 * c + 1 < blocks);
        }
        turn_codes(panel, c, lines);
    }
    for (size_t i = 0; i < PANEL_ROWS; i++) {
        const uint8_t *row = w + i * stride;
        lines[i] = _mm512_setzero_si512();
        if (i >= rows)
            continue;
        for (size_t b = 0; type == PHY_WEIGHT_Q8_0 && b < blocks; b++)
            panel->d[b][i] = (float)half_value(row + b * 34);
        if (type == PHY_WEIGHT_Q4_K) {
            lines[i] = _mm512_cvtepu8_epi32(q4_k_scales(row));
            panel->d[0][i] = (float)half_value(row);
            panel->d[1][i] = (float)half_value(row + 2);
        } else if (type == PHY_WEIGHT_Q6_K) {
            lines[i] = _mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)(row + 192)));
            panel->d[0][i] = (float)half_value(row + 208);
        }
    }
    if (type != PHY_WEIGHT_Q8_0)
        turn_scales(panel, type, lines);
}

/* Codes of `steps` times four columns from step k, for `count` rows of x: lanes are rows of w. */
INLINE void add_steps(const struct panel *panel, size_t k, size_t steps, const int8_t *x, size_t stride, size_t count,
                      __m512i part[TILE_X])
{
    UNROLL
    for (size_t s = 0; s < steps; s++) {
        const __m512i codes = _mm512_load_si512(panel->codes[k + s]);
        UNROLL
        for (size_t j = 0; j < count; j++) {
            int32_t four;
            memcpy(&four, x + j * stride * PHY_INT8_GROUP + 4 * (k + s), sizeof four);
            part[j] = _mm512_dpbusd_epi32(part[j], codes, _mm512_set1_epi32(four));
        }
    }
}

INLINE __m512i two_sums(const int16_t *sums, size_t i)
{
    int32_t two;
    memcpy(&two, sums + 2 * i, sizeof two);
    return _mm512_set1_epi32(two);
}

/* d * lanes - dmin * below, formed in float64: the two may nearly cancel. */
INLINE vec difference(__m512i lanes, __m512i below, const struct panel *panel)
{
    __m256 half[2];
    UNROLL
    for (size_t h = 0; h < 2; h++) {
        const __m256i high = h ? _mm512_extracti64x4_epi64(lanes, 1) : _mm512_castsi512_si256(lanes);
        const __m256i low = h ? _mm512_extracti64x4_epi64(below, 1) : _mm512_castsi512_si256(below);
        const __m512d d = _mm512_cvtps_pd(_mm256_load_ps(panel->d[0] + 8 * h));
        const __m512d dmin = _mm512_cvtps_pd(_mm256_load_ps(panel->d[1] + 8 * h));
        const __m512d off = _mm512_mul_pd(_mm512_cvtepi32_pd(low), dmin);
        half[h] = _mm512_cvtpd_ps(_mm512_fmsub_pd(_mm512_cvtepi32_pd(high), d, off));
    }
    return _mm512_insertf32x8(_mm512_castps256_ps512(half[0]), half[1], 1);
}

/* A panel times `count` rows of x: sum[j] of this group, before the scale of x. */
INLINE void tile_256(const struct panel *panel, enum phy_weight_type type, const int8_t *x, const int16_t *sums,
                     size_t stride, size_t count, vec sum[TILE_X])
{
    const size_t columns = type == PHY_WEIGHT_Q6_K ? 16 : 32; /* of one scale */
    __m512i total[TILE_X];
    UNROLL
    for (size_t j = 0; j < count; j++)
        total[j] = _mm512_setzero_si512();
    for (size_t g = 0; g < PHY_INT8_GROUP / columns; g++) {
        const __m512i scale = _mm512_load_si512(panel->scale[g]);
        __m512i part[TILE_X];
        UNROLL
        for (size_t j = 0; j < count; j++)
            part[j] = _mm512_setzero_si512();
        add_steps(panel, g * columns / 4, columns / 4, x, stride, count, part);
        UNROLL
        for (size_t j = 0; j < count; j++)
            total[j] = _mm512_add_epi32(total[j], _mm512_mullo_epi32(part[j], scale));
    }
    UNROLL
    for (size_t j = 0; j < count; j++) {
        __m512i off = _mm512_setzero_si512();
        UNROLL
        for (size_t i = 0; i < PHY_INT8_GROUP_SUMS / 2; i++)
            off = _mm512_dpwssd_epi32(off, _mm512_load_si512(panel->offset[i]),
                                      two_sums(sums + j * stride * PHY_INT8_GROUP_SUMS, i));
        if (type == PHY_WEIGHT_Q4_K)
            sum[j] = difference(total[j], off, panel);
        else
            sum[j] = vec_mul(_mm512_cvtepi32_ps(_mm512_sub_epi32(total[j], _mm512_slli_epi32(off, 5))),
                             vec_load(panel->d[0]));
    }
}

INLINE void tile_q8_0(const struct panel *panel, const int8_t *x, const int16_t *sums, size_t stride, size_t count,
                      vec sum[TILE_X])
{
    UNROLL
    for (size_t j = 0; j < count; j++)
        sum[j] = vec_zero();
    for (size_t b = 0; b < PHY_INT8_GROUP / GROUP; b++) {
        const vec d = vec_load(panel->d[b]);
        __m512i part[TILE_X];
        UNROLL
        for (size_t j = 0; j < count; j++) /* codes are 128 too many */
            part[j] = _mm512_dpwssd_epi32(_mm512_setzero_si512(), _mm512_set1_epi16(-128),
                                          two_sums(sums + j * stride * PHY_INT8_GROUP_SUMS, b));
        add_steps(panel, b * GROUP / 4, GROUP / 4, x, stride, count, part);
        UNROLL
        for (size_t j = 0; j < count; j++)
            sum[j] = vec_fma(_mm512_cvtepi32_ps(part[j]), d, sum[j]);
    }
}

INLINE void tile(const struct phy_int8_matmul *product, enum phy_weight_type type, const struct panel *panel, size_t r,
                 size_t rows, size_t n, size_t count, size_t g)
{
    const struct phy_int8_rows *x = product->x;
    const size_t at = n * x->groups + g;
    const __mmask16 used = (__mmask16)((1u << rows) - 1);
    vec sum[TILE_X];
    if (type == PHY_WEIGHT_Q8_0)
        tile_q8_0(panel, x->q + at * PHY_INT8_GROUP, x->sums + at * PHY_INT8_GROUP_SUMS, x->groups, count, sum);
    else
        tile_256(panel, type, x->q + at * PHY_INT8_GROUP, x->sums + at * PHY_INT8_GROUP_SUMS, x->groups, count, sum);
    UNROLL
    for (size_t j = 0; j < count; j++) {
        float *y = product->y + (n + j) * product->y_stride + r;
        const vec before = g ? _mm512_maskz_loadu_ps(used, y) : vec_zero();
        _mm512_mask_storeu_ps(y, used, vec_fma(sum[j], vec_set1(x->scale[at + j * x->groups]), before));
    }
}

/* The panels one after the other, while these rows of x are in the first-level cache. */
INLINE void tile_panels(const struct phy_int8_matmul *product, enum phy_weight_type type, const struct panel *panels,
                        size_t r, const size_t rows[PANELS], size_t n, size_t count, size_t g)
{
    for (size_t p = 0; p < PANELS && rows[p]; p++)
        tile(product, type, &panels[p], r + p * PANEL_ROWS, rows[p], n, count, g);
}

INLINE void matmul_typed(const struct phy_int8_matmul *product, enum phy_weight_type type, size_t row_begin,
                         size_t row_end, struct panel *panels)
{
    const size_t count = product->x->count;
    for (size_t r = row_begin; r < row_end; r += PANELS * PANEL_ROWS) {
        size_t rows[PANELS];
        for (size_t p = 0; p < PANELS; p++) {
            const size_t first = r + p * PANEL_ROWS;
            rows[p] = first >= row_end ? 0 : row_end - first < PANEL_ROWS ? row_end - first : PANEL_ROWS;
        }
        for (size_t g = 0; g < product->x->groups; g++) {
            for (size_t p = 0; p < PANELS && rows[p]; p++)
                pack_panel(product, type, r + p * PANEL_ROWS, rows[p], g, &panels[p]);
            size_t n = 0;
            for (; n + TILE_X <= count; n += TILE_X)
                tile_panels(product, type, panels, r, rows, n, TILE_X, g);
            for (; n + 4 <= count; n += 4)
                tile_panels(product, type, panels, r, rows, n, 4, g);
            for (; n + 2 <= count; n += 2)
                tile_panels(product, type, panels, r, rows, n, 2, g);
            for (; n < count; n++)
                tile_panels(product, type, panels, r, rows, n, 1, g);
        }
    }
}

void INT8_FORM(phy_int8_matmul)(const struct phy_int8_matmul *product, size_t row_begin, size_t row_end, void *panel)
{
    switch (product->type) {
    case PHY_WEIGHT_Q8_0:
        matmul_typed(product, PHY_WEIGHT_Q8_0, row_begin, row_end, panel);
        break;
    case PHY_WEIGHT_Q4_K:
        matmul_typed(product, PHY_WEIGHT_Q4_K, row_begin, row_end, panel);
        break;
    case PHY_WEIGHT_Q6_K:
        matmul_typed(product, PHY_WEIGHT_Q6_K, row_begin, row_end, panel);
        break;
    default:
        break;
    }
}
