/* SPDX-License-Identifier: Apache-2.0 */
/* Body of the SIMD forms of block_matmul.h, included after block_unpack_<form>.h and what matmul_tile.h needs. */
#include "kernels/block_dots_simd.h"
#include "kernels/matmul_tile.h"

INLINE void matvec_tile(const struct phy_matmul *product, enum phy_weight_type type, size_t r, size_t rows, size_t n,
                        size_t count)
{
    const size_t stride = row_stride(type, product->cols);
    const uint8_t *w[4];
    float out[4 * 4];
    UNROLL
    for (size_t i = 0; i < rows; i++)
        w[i] = (const uint8_t *)product->w + (r + i) * stride;
    dot_rows(type, w, rows, product->cols, n ? 0 : 4 * stride, NULL, product->x + n * product->cols, count, out);
    UNROLL
    for (size_t i = 0; i < rows; i++) {
        UNROLL
        for (size_t j = 0; j < count; j++)
            product->y[(n + j) * product->y_stride + r + i] = out[i * count + j];
    }
}

/* Four rows of w at a time with one of x: four streams from memory. Two with four of x, so that a block is unpacked
 * once for four products. The order of a row's sum depends on neither. */
INLINE void matvec_typed(const struct phy_matmul *product, enum phy_weight_type type, size_t row_begin, size_t row_end)
{
    const size_t in_fours = product->count - product->count % 4;
    size_t r = row_begin;
    for (; r + 4 <= row_end; r += 4) {
        for (size_t n = 0; n < in_fours; n += 4) {
            matvec_tile(product, type, r, 2, n, 4);
            matvec_tile(product, type, r + 2, 2, n, 4);
        }
        for (size_t n = in_fours; n < product->count; n++)
            matvec_tile(product, type, r, 4, n, 1);
    }
    for (; r < row_end; r++) {
        for (size_t n = 0; n < product->count; n++)
            matvec_tile(product, type, r, 1, n, 1);
    }
}

void FORM(phy_block_matvec)(const struct phy_matmul *product, size_t row_begin, size_t row_end)
{
#define MATVEC(type) matvec_typed(product, type, row_begin, row_end)
    switch (product->type) {
        FOR_PRODUCT_TYPE(MATVEC)
    default:
        break;
    }
#undef MATVEC
}

/* Columns of a panel that are decoded before they are turned. */
enum { PACK_COLS = 256 };

/* panel[k][UNIT_ROWS] = decoded w[r + i][k0 + k]; rows past the end are zero. k0 begins a block. */
INLINE void pack_panel(const struct phy_matmul *product, enum phy_weight_type type, size_t r, size_t rows, size_t k0,
                       size_t cols, float *panel)
{
    const size_t stride = row_stride(type, product->cols);
    for (size_t from = 0; from < cols; from += PACK_COLS, panel += PACK_COLS * UNIT_ROWS) {
        const size_t many = cols - from < PACK_COLS ? cols - from : PACK_COLS;
        const uint8_t *w =
            (const uint8_t *)product->w + r * stride + (k0 + from) / block_elements(type) * block_bytes(type);
        for (size_t i = 0; i < UNIT_ROWS; i += LANES) {
            float values[LANES][PACK_COLS + LANES]; /* a pitch that does not map rows to the same cache set */
            for (size_t l = 0; l < LANES; l++) {
                if (i + l < rows)
                    unpack_cols(type, w + (i + l) * stride, many, values[l]);
                else
                    memset(values[l], 0, many * sizeof(float));
            }
            for (size_t k = 0; k < many; k += LANES) {
                vec lanes[LANES];
                for (size_t l = 0; l < LANES; l++)
                    lanes[l] = vec_load(values[l] + k);
                vec_transpose(lanes);
                for (size_t l = 0; l < LANES && k + l < many; l++)
                    vec_store(panel + (k + l) * UNIT_ROWS + i, lanes[l]);
            }
        }
    }
}

#if TURNED
/* Whole blocks of every format, which are unpacked where the type is looked at: all else is the same code for each. */
#define WIDE_COLS 256
#define WIDEN_EARLY true
#define LINE_COLS(type) ((void)(type), (size_t)TILE_SUM_COLS)

INLINE uintptr_t weight_row(const struct phy_matmul *product, enum phy_weight_type type, size_t r, size_t k0)
{
    return (uintptr_t)product->w + r * row_stride(type, product->cols) + k0 / block_elements(type) * block_bytes(type);
}

static void widen_row(const struct phy_matmul *product, enum phy_weight_type type, size_t r, size_t k0, size_t cols,
                      float *to)
{
    const uint8_t *w = (const uint8_t *)weight_row(product, type, r, k0);
#define WIDEN(type) unpack_cols(type, w, cols, to)
    switch (type) {
        FOR_PRODUCT_TYPE(WIDEN)
    default:
        break;
    }
#undef WIDEN
}

#include "kernels/matmul_turned_simd.h"
#endif

INLINE void matmul_typed(const struct phy_matmul *product, enum phy_weight_type type, size_t row_begin, size_t row_end,
                         float *panel)
{
    for (size_t r = row_begin; r < row_end; r += UNIT_ROWS) {
        size_t rows = row_end - r < UNIT_ROWS ? row_end - r : UNIT_ROWS;
        for (size_t k0 = 0; k0 < product->cols; k0 += PHY_MATMUL_PANEL_COLS) {
            size_t left = product->cols - k0, cols = left < PHY_MATMUL_PANEL_COLS ? left : PHY_MATMUL_PANEL_COLS;
            pack_panel(product, type, r, rows, k0, cols, panel);
            multiply_panel(product, panel, r, rows, k0, cols);
        }
    }
}

void FORM(phy_block_matmul)(const struct phy_matmul *product, size_t row_begin, size_t row_end, float *panel)
{
#if TURNED
    if (product->x_panels) {
        matmul_turned(product, product->type, row_begin, row_end, (struct turned_scratch *)panel);
        return;
    }
#endif
#define MATMUL(type) matmul_typed(product, type, row_begin, row_end, panel)
    switch (product->type) {
        FOR_PRODUCT_TYPE(MATMUL)
    default:
        break;
    }
#undef MATMUL
}

void FORM(phy_block_decode)(const struct phy_matmul *product, size_t row_begin, size_t row_end, float *out)
{
    const size_t stride = row_stride(product->type, product->cols);
#define DECODE(type)                                                                                                   \
    for (size_t r = row_begin; r < row_end; r++, out += product->cols)                                                 \
    unpack_cols(type, (const uint8_t *)product->w + r * stride, product->cols, out)
    FOR_TYPE(product->type, DECODE)
#undef DECODE
}
