/* SPDX-License-Identifier: Apache-2.0 */
/* vdpbf16ps: sixteen sums of two products each, in one instruction. It works as if each product were added by a fused
 * multiply-add, and counts subnormals as zeros. Sums of CHAIN_PAIRS pairs are added up in float32: a chain of equal
 * products, of 16 bits each, is then exact, and adding up a row's few chains loses little. */
#include "kernels/bf16_matmul_forms.h"
#include "kernels/vec_avx512.h"

/* 24 sums, 3 weights, 1 activation of 32 registers */
enum { UNIT_VECS = 3, TILE_COUNT = 8, CHAIN = 8, CHAIN_PAIRS = 64, PAIR_LANES = 2 * LANES };

#include "kernels/matmul_tile.h"

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

/* `rows` rows of w times `count` rows of x; both are constants where this is inlined. Each line read asks for its line
 * of the ASKS next blocks, as in matmul_simd.h. */
INLINE void dot_rows(const struct phy_bf16_matmul *product, size_t r, size_t rows, size_t n, size_t count)
{
    const size_t cols = product->cols, whole = cols - cols % PAIR_LANES;
    const size_t stride = phy_bf16_row_bytes_avx512bf16(cols) / sizeof(uint16_t);
    const uint16_t *w = (const uint16_t *)product->w + r * cols, *x = (const uint16_t *)product->x + n * stride;
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
            if (rows > 1 && n == 0) {
                UNROLL
                for (size_t i = rows; i < (1 + ASKS) * rows; i++)
                    __builtin_prefetch((const void *)((uintptr_t)(w + k) + i * cols * sizeof *w), 0, 2);
            }
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
    UNROLL
    for (size_t i = 0; i < rows; i++) {
        UNROLL
        for (size_t j = 0; j < count; j++)
            product->y[(n + j) * product->y_stride + r + i] = vec_sum(sum[i * count + j]);
    }
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

/* panel[k / 2][UNIT_ROWS] = the pair w[r + i][k0 + k], w[r + i][k0 + k + 1]; zeros past the end of rows and columns. */
INLINE void pack_pairs(const struct phy_bf16_matmul *product, size_t r, size_t rows, size_t k0, size_t cols,
                       uint32_t *panel)
{
    const size_t pairs = (cols + 1) / 2;
    for (size_t i = 0; i < UNIT_ROWS; i += LANES) {
        for (size_t k = 0; k < cols; k += PAIR_LANES) {
            const __mmask32 mask = first_bits(cols - k < PAIR_LANES ? cols - k : PAIR_LANES);
            vec lanes[LANES];
            for (size_t l = 0; l < LANES; l++) {
                const uint16_t *from = (const uint16_t *)product->w + (r + i + l) * product->cols + k0 + k;
                lanes[l] = i + l < rows ? _mm512_castsi512_ps(_mm512_maskz_loadu_epi16(mask, from)) : vec_zero();
            }
            vec_transpose(lanes);
            for (size_t l = 0; l < LANES && k / 2 + l < pairs; l++)
                vec_store((float *)panel + (k / 2 + l) * UNIT_ROWS + i, lanes[l]);
        }
    }
}

/* chain[j][v] += w[v] * x[j] over `pairs` pairs of columns; x: rows of `stride` pairs. */
INLINE void pair_chain(tile_vecs chain, const uint32_t *panel, const uint32_t *x, size_t stride, size_t count,
                       size_t pairs)
{
    FOR_TILE(count, chain[j][v] = vec_zero())
    for (size_t k = 0; k < pairs; k++) {
        __m512i w[UNIT_VECS];
        UNROLL
        for (size_t v = 0; v < UNIT_VECS; v++)
            w[v] = _mm512_loadu_si512(panel + k * UNIT_ROWS + v * LANES);
        UNROLL
        for (size_t j = 0; j < count; j++) {
            const __m512i xk = _mm512_set1_epi32((int32_t)x[j * stride + k]);
            UNROLL
            for (size_t v = 0; v < UNIT_VECS; v++)
                chain[j][v] = dot_pairs(chain[j][v], w[v], xk);
        }
    }
}

/* One register tile over a panel of `pairs`, added to y unless it is the first panel. */
INLINE void pair_tile(const struct phy_matmul *y, const uint32_t *panel, const uint32_t *x, size_t stride, size_t r,
                      size_t rows, size_t n, size_t count, size_t pairs, bool add)
{
    tile_vecs sum;
    ask_for(y->y + n * y->y_stride + r, y->y_stride, count, UNIT_ROWS, 1);
    pair_chain(sum, panel, x, stride, count, pairs < CHAIN_PAIRS ? pairs : CHAIN_PAIRS);
    for (size_t k = CHAIN_PAIRS; k < pairs; k += CHAIN_PAIRS) {
        const size_t left = pairs - k;
        tile_vecs chain;
        pair_chain(chain, panel + k * UNIT_ROWS, x + k, stride, count, left < CHAIN_PAIRS ? left : CHAIN_PAIRS);
        FOR_TILE(count, sum[j][v] = vec_add(sum[j][v], chain[j][v]))
    }
    put_tile(y, sum, r, rows, n, count, add);
}

void phy_bf16_matmul_avx512bf16(const struct phy_bf16_matmul *product, size_t row_begin, size_t row_end, float *panel)
{
    const struct phy_matmul y = {.y = product->y, .y_stride = product->y_stride};
    const size_t stride = phy_bf16_row_bytes_avx512bf16(product->cols) / sizeof(uint32_t), count = product->count;
    uint32_t *pairs_panel = (uint32_t *)panel;
    for (size_t r = row_begin; r < row_end; r += UNIT_ROWS) {
        const size_t rows = row_end - r < UNIT_ROWS ? row_end - r : UNIT_ROWS;
        for (size_t k0 = 0; k0 < product->cols; k0 += PHY_MATMUL_PANEL_COLS) {
            const size_t left = product->cols - k0, cols = left < PHY_MATMUL_PANEL_COLS ? left : PHY_MATMUL_PANEL_COLS;
            const size_t pairs = (cols + 1) / 2;
            const uint32_t *x = (const uint32_t *)product->x + k0 / 2;
            size_t n = 0;
            pack_pairs(product, r, rows, k0, cols, pairs_panel);
            for (; n + TILE_COUNT <= count; n += TILE_COUNT)
                pair_tile(&y, pairs_panel, x + n * stride, stride, r, rows, n, TILE_COUNT, pairs, k0 > 0);
            for (; n + 4 <= count; n += 4)
                pair_tile(&y, pairs_panel, x + n * stride, stride, r, rows, n, 4, pairs, k0 > 0);
            for (; n < count; n++)
                pair_tile(&y, pairs_panel, x + n * stride, stride, r, rows, n, 1, pairs, k0 > 0);
        }
    }
}
