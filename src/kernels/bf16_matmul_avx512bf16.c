/* SPDX-License-Identifier: Apache-2.0 */
/* vdpbf16ps: sixteen sums of two products each, in one instruction. It works as if each product were added by a fused
 * multiply-add, and counts subnormals as zeros. Sums of CHAIN_PAIRS pairs are added up in float32: a chain of equal
 * products, of 16 bits each, is then exact, and adding up a row's few chains loses little. */
#include <string.h>

#include "kernels/bf16_matmul_forms.h"
#include "kernels/vec_avx512.h"

#include "kernels/matmul_turned.h"

enum { CHAIN_PAIRS = 64, PAIR_LANES = 2 * LANES };

/* ---- x ---- */

size_t phy_bf16_row_bytes_avx512bf16(size_t cols)
{
    return (cols + PAIR_LANES - 1) / PAIR_LANES * (PAIR_LANES * sizeof(uint16_t));
}

/* Bits 0 .. count - 1; count <= 32 */
INLINE __mmask32 first_bits(size_t count)
{
    return (__mmask32)((UINT64_C(1) << count) - 1);
}

/* Zeros beyond the last column. */
void phy_bf16_round_row_avx512bf16(const float *x, size_t cols, void *to)
{
    uint16_t *rounded = to;
    for (size_t k = 0; k < cols; k += PAIR_LANES) {
        const __mmask32 mask = first_bits(cols - k < PAIR_LANES ? cols - k : PAIR_LANES);
        const __m512 low = _mm512_maskz_loadu_ps((__mmask16)mask, x + k);
        const __m512 high = _mm512_maskz_loadu_ps((__mmask16)(mask >> LANES), x + k + LANES);
        _mm512_storeu_si512(rounded + k, (__m512i)_mm512_cvtne2ps_pbh(high, low));
    }
}

INLINE vec dot_pairs(vec sum, __m512i w, __m512i x)
{
    return _mm512_dpbf16_ps(sum, (__m512bh)w, (__m512bh)x);
}

/* ---- few rows of x ---- */

/* 32 columns of `rows` rows of w times `count` rows of x. */
INLINE void dot_columns(vec *chain, const uint16_t *w, size_t cols, const uint16_t *x, size_t stride, size_t rows,
                        size_t count, __mmask32 mask)
{
    __m512i wide[4];
    UNROLL
    for (size_t j = 0; j < count; j++)
        wide[j] = _mm512_loadu_si512(x + j * stride);
    UNROLL
    for (size_t i = 0; i < rows; i++) {
        const uint16_t *from = w + i * cols;
        const __m512i codes = mask == UINT32_MAX ? _mm512_loadu_si512(from) : _mm512_maskz_loadu_epi16(mask, from);
        UNROLL
        for (size_t j = 0; j < count; j++)
            chain[i * count + j] = dot_pairs(chain[i * count + j], codes, wide[j]);
    }
}

enum { ASKS = 4 };

/* Asks for the lines of rows first .. last - 1 from w on, into L2. */
INLINE void ask_for(const uint16_t *w, size_t cols, size_t first, size_t last)
{
    UNROLL
    for (size_t i = first; i < last; i++)
        __builtin_prefetch((const void *)((uintptr_t)w + i * cols * sizeof *w), 0, 2);
}

/* `rows` rows of w times `count` rows of x; both are constants where this is inlined. Each line read asks for its line
 * of the ASKS next blocks, or of the next one, as in matmul_simd.h. */
INLINE void dot_rows(const struct phy_bf16_matmul *product, size_t r, size_t rows, size_t n, size_t count)
{
    const size_t cols = product->cols, whole = cols - cols % PAIR_LANES;
    const size_t stride = phy_bf16_row_bytes_avx512bf16(cols) / sizeof(uint16_t);
    const uint16_t *w = (const uint16_t *)product->w + r * cols, *x = (const uint16_t *)product->x + n * stride;
    const bool ask = rows > 1 && n == 0, often = ask && !product->cached;
    vec sum[4 * 4], chain[4 * 4];
    UNROLL
    for (size_t i = 0; i < rows * count; i++)
        sum[i] = vec_zero();
    for (size_t k = 0; k < cols;) {
        const size_t end = whole - k > CHAIN_PAIRS * PAIR_LANES ? k + CHAIN_PAIRS * PAIR_LANES : whole;
        UNROLL
        for (size_t i = 0; i < rows * count; i++)
            chain[i] = vec_zero();
        for (; k < end; k += PAIR_LANES) {
            if (often)
                ask_for(w + k, cols, rows, (1 + ASKS) * rows);
            else if (ask)
                ask_for(w + k, cols, rows, 2 * rows);
            dot_columns(chain, w + k, cols, x + k, stride, rows, count, UINT32_MAX);
        }
        if (k == whole && k < cols) {
            dot_columns(chain, w + k, cols, x + k, stride, rows, count, first_bits(cols - k));
            k = cols;
        }
        UNROLL
        for (size_t i = 0; i < rows * count; i++)
            sum[i] = vec_add(sum[i], chain[i]);
    }
    vec_store_sums(product->y + n * product->y_stride + r, product->y_stride, sum, rows, count);
}

void phy_bf16_matvec_avx512bf16(const struct phy_bf16_matmul *product, size_t row_begin, size_t row_end)
{
    size_t r = row_begin;
    for (; r + 4 <= row_end; r += 4) {
        size_t n = 0;
        for (; n + 4 <= product->count; n += 4)
            dot_rows(product, r, 4, n, 4);
        for (; n < product->count; n++)
            dot_rows(product, r, 4, n, 1);
    }
    for (; r < row_end; r++) {
        for (size_t n = 0; n < product->count; n++)
            dot_rows(product, r, 1, n, 1);
    }
}

/* ---- many rows of x ---- */

/* panel[pair][LANES] = the pair of each row; lanes from `count` on are zero. */
void phy_bf16_turn_rows_avx512bf16(const void *rows, size_t count, size_t cols, void *panel)
{
    const size_t pairs = phy_bf16_row_bytes_avx512bf16(cols) / sizeof(uint32_t);
    turn_rows(rows, pairs, count, pairs, panel);
}

/* 24 sums, 4 vectors of x, 1 weight of 32 registers */
enum { TILE_SUMS = 24, MOST_TILE_ROWS = 12, LINE_PAIRS = 16, PANEL_PAIRS = PHY_MATMUL_PANEL_COLS / 2 };

/* A thread's scratch: rows that can't be read as they lie, behind the results. */
struct pair_scratch {
    struct turned turned;
    uint32_t rows[MOST_TILE_ROWS][PANEL_PAIRS + LANES]; /* a pitch that does not map rows to the same cache set */
};
_Static_assert(sizeof(struct pair_scratch) <= PHY_MATMUL_PANEL_BYTES, "a thread's scratch is too small");

/* Constants where tiles are inlined. */
struct pair_shape {
    size_t vecs, rows, sums; /* sums = vecs * rows */
};

/* Row j of w: w + j * stride bytes; vector v of x: x + v * step pairs. */
struct pair_operands {
    const char *w;
    size_t stride;
    const uint32_t *x;
    size_t step;
};

/* Sums of `pairs` pairs from k on. Each line of w read asks for that of the next tile's rows. */
INLINE void pair_chain(struct pair_shape shape, const struct pair_operands *of, size_t k, size_t pairs, vec *chain)
{
    UNROLL
    for (size_t i = 0; i < shape.sums; i++)
        chain[i] = vec_zero();
    for (const size_t end = k + pairs; k < end; k++) {
        __m512i x[TURNED_VECS];
        if (k % LINE_PAIRS == 0) {
            UNROLL
            for (size_t j = 0; j < shape.rows; j++)
                __builtin_prefetch((const void *)((uintptr_t)of->w + (shape.rows + j) * of->stride + 4 * k), 0, 2);
        }
        UNROLL
        for (size_t v = 0; v < shape.vecs; v++)
            x[v] = _mm512_load_si512(of->x + v * of->step + k * LANES);
        UNROLL
        for (size_t j = 0; j < shape.rows; j++) {
            int32_t pair;
            memcpy(&pair, of->w + j * of->stride + 4 * k, sizeof pair);
            const __m512i w = _mm512_set1_epi32(pair);
            UNROLL
            for (size_t v = 0; v < shape.vecs; v++)
                chain[j * shape.vecs + v] = dot_pairs(chain[j * shape.vecs + v], w, x[v]);
        }
    }
}

INLINE void pair_tile(struct pair_shape shape, const struct pair_operands *of, size_t pairs, vec *sum)
{
    pair_chain(shape, of, 0, pairs < CHAIN_PAIRS ? pairs : CHAIN_PAIRS, sum);
    for (size_t k = CHAIN_PAIRS; k < pairs; k += CHAIN_PAIRS) {
        vec chain[TILE_SUMS];
        pair_chain(shape, of, k, pairs - k < CHAIN_PAIRS ? pairs - k : CHAIN_PAIRS, chain);
        UNROLL
        for (size_t i = 0; i < shape.sums; i++)
            sum[i] = vec_add(sum[i], chain[i]);
    }
}

/* Part of a product: `rows` rows from r on, `cols` columns from k0 on, panels of x from x on. */
struct pair_part {
    const struct phy_bf16_matmul *product;
    size_t r, rows, k0, cols;
    const uint32_t *x;
    size_t step; /* pairs from panel to panel */
};

/* Rows i .. of a part with a zero behind an odd last column, as what follows it is not ours; the unit's last row stands
 * for those past it. */
static void copy_rows(const struct pair_part *part, size_t i, size_t rows, struct pair_scratch *scratch)
{
    for (size_t j = 0; j < rows; j++) {
        const size_t row = part->r + (i + j < part->rows ? i + j : part->rows - 1);
        const uint16_t *w = (const uint16_t *)part->product->w + row * part->product->cols + part->k0;
        scratch->rows[j][part->cols / 2] = 0;
        memcpy(scratch->rows[j], w, part->cols * sizeof *w);
    }
}

INLINE void pair_tiles(const struct pair_part *part, struct pair_shape shape, struct pair_scratch *scratch)
{
    for (size_t i = 0; i < part->rows; i += shape.rows) {
        const size_t cols = part->product->cols;
        struct pair_operands of = {.w = (const char *)part->product->w + ((part->r + i) * cols + part->k0) * 2,
                                   .stride = cols * 2,
                                   .x = part->x + part->k0 / 2 * LANES,
                                   .step = part->step};
        vec sum[TILE_SUMS];
        if (part->cols % 2 || part->rows - i < shape.rows) {
            copy_rows(part, i, shape.rows, scratch);
            of.w = (const char *)scratch->rows;
            of.stride = sizeof scratch->rows[0];
        }
        pair_tile(shape, &of, (part->cols + 1) / 2, sum);
        add_turned(&scratch->turned, i, shape.vecs, shape.rows, sum, part->k0 > 0);
    }
}

INLINE struct pair_shape shape_of(size_t vecs, size_t rows)
{
    return (struct pair_shape){vecs, rows, vecs * rows};
}

/* A unit of rows times `vecs` panels of x. */
static void pair_unit(struct pair_part part, size_t vecs, struct pair_scratch *scratch)
{
    const size_t all = part.product->cols;
    for (part.k0 = 0; part.k0 < all; part.k0 += PHY_MATMUL_PANEL_COLS) {
        part.cols = all - part.k0 < PHY_MATMUL_PANEL_COLS ? all - part.k0 : PHY_MATMUL_PANEL_COLS;
        if (vecs == 4)
            pair_tiles(&part, shape_of(4, 6), scratch);
        else if (vecs == 3)
            pair_tiles(&part, shape_of(3, 8), scratch);
        else if (vecs == 2)
            pair_tiles(&part, shape_of(2, 12), scratch);
        else
            pair_tiles(&part, shape_of(1, 12), scratch);
    }
}

void phy_bf16_matmul_avx512bf16(const struct phy_bf16_matmul *product, size_t row_begin, size_t row_end, float *panel)
{
    const size_t pairs = phy_bf16_row_bytes_avx512bf16(product->cols) / sizeof(uint32_t);
    struct pair_scratch *scratch = (struct pair_scratch *)panel;
    for (size_t r = row_begin; r < row_end; r += TURNED_ROWS) {
        const size_t rows = row_end - r < TURNED_ROWS ? row_end - r : TURNED_ROWS;
        for (size_t n = 0; n < product->count; n += TURNED_LANES) {
            const size_t count = product->count - n < TURNED_LANES ? product->count - n : TURNED_LANES;
            const struct pair_part part = {.product = product,
                                           .r = r,
                                           .rows = rows,
                                           .x = (const uint32_t *)product->x + n * pairs,
                                           .step = LANES * pairs};
            pair_unit(part, (count + LANES - 1) / LANES, scratch);
            put_turned(&scratch->turned, rows, product->y + n * product->y_stride + r, product->y_stride, count);
        }
    }
}
