/* SPDX-License-Identifier: Apache-2.0 */
/* The register tile of the products of many rows of x, whatever the weights were before they were widened. Included
 * after vec_<form>.h and
 *
 *   UNIT_VECS, TILE_COUNT   the tile: UNIT_VECS vectors of rows x TILE_COUNT rows of x
 *   CHAIN                   columns of one chain of additions
 *
 * A product's columns are added up in chains of CHAIN, CHAINS of them one after another, and those sums in pairs of
 * floats by Kahan's method (W. Kahan, "Further remarks on reducing truncation errors", CACM 8(1), 1965): the error is
 * that of CHAIN + CHAINS additions however wide the matrix is. */
#ifndef PHY_KERNELS_MATMUL_TILE_H
#define PHY_KERNELS_MATMUL_TILE_H

#include <stdbool.h>

#include "kernels/matmul.h"
#include "kernels/vec_math.h"

enum { UNIT_ROWS = UNIT_VECS * LANES, CHAINS = 8, TILE_VECS = UNIT_VECS * TILE_COUNT };

/* A tile's registers: `vecs` vectors for each of `count` rows whose values are broadcast; all = vecs * count, at most
 * TILE_VECS. Constants where tiles are inlined. */
struct tile_shape {
    size_t vecs, count, all;
};

INLINE struct tile_shape shape_of(size_t vecs, size_t count)
{
    return (struct tile_shape){vecs, count, vecs * count};
}

/* Vector j * vecs + v belongs to row j. */
typedef vec tile_vecs[TILE_VECS];

#define FOR_TILE(shape, body)                                                                                          \
    UNROLL                                                                                                             \
    for (size_t i = 0; i < (shape).all; i++)                                                                           \
        body;

enum { LINE_BYTES = 64, LINE_FLOATS = LINE_BYTES / sizeof(float) };

/* What a tile multiplies, from its first column on. Either side may be the weights. */
struct tile_operands {
    const float *lanes;    /* vector v of column k: lanes + k * k_step + v * v_step */
    size_t k_step, v_step; /* floats */
    const float *rows;     /* column k of row j: rows[j * stride + k] */
    size_t stride;
    /* What the next tile reads of row j: from next + j * next_stride on, a line for each line_cols columns. Asked for
     * into the second-level cache if next_far, else into the first. Past the end in vain. Constants but for next. */
    uintptr_t next;
    size_t next_stride, line_cols;
    bool next_far;
};

/* chain[j][v] += lanes[v] * rows[j] over `cols` columns from k on. Unrolled, as a short chain ends sooner than the
 * branch that ends it is foreseen. */
INLINE void tile_chain(tile_vecs chain, struct tile_shape shape, const struct tile_operands *of, size_t from,
                       size_t cols)
{
    const float *lanes = of->lanes + from * of->k_step, *rows = of->rows + from;
    UNROLL_8
    for (size_t k = 0; k < cols; k++) {
        vec column[TILE_VECS];
        UNROLL
        for (size_t v = 0; v < shape.vecs; v++)
            vec_load_once(column[v], lanes + k * of->k_step + v * of->v_step);
        UNROLL
        for (size_t j = 0; j < shape.count; j++) {
            const vec value = vec_set1(rows[j * of->stride + k]);
            UNROLL
            for (size_t v = 0; v < shape.vecs; v++)
                chain[j * shape.vecs + v] = vec_fma(column[v], value, chain[j * shape.vecs + v]);
        }
    }
}

enum {
    TILE_SUM_COLS = CHAIN * CHAINS,
    FOLDS = (TILE_VECS + CHAINS - 1) / CHAINS /* sums a chain */
};

/* What a tile keeps in memory: the sums of the last TILE_SUM_COLS columns, which are added to the totals a few at a
 * time between the chains that follow, as all at once they would hold up the multiplications (Zen 4: by 6%, so by 3%).
 * The first sums are the totals; `lost` holds from the third on, and nothing before. */
struct tile_state {
    vec sum[FOLDS * CHAINS], total[FOLDS * CHAINS], lost[FOLDS * CHAINS];
};

INLINE void fold_some(struct tile_state *state, size_t step)
{
    UNROLL
    for (size_t i = step * FOLDS; i < (step + 1) * FOLDS; i++)
        vec_add_kahan(&state->total[i], &state->lost[i], state->sum[i]);
}

/* The whole, with the last sum. */
INLINE vec kahan_end(const struct tile_state *state, size_t i, vec sum)
{
    vec total = state->total[i], lost = state->lost[i];
    vec_add_kahan(&total, &lost, sum);
    return vec_sub(total, lost);
}

/* sum += one chain of `cols` columns. */
INLINE void add_chain(tile_vecs sum, struct tile_shape shape, const struct tile_operands *of, size_t from, size_t cols)
{
    tile_vecs chain;
    FOR_TILE(shape, chain[i] = vec_zero())
    tile_chain(chain, shape, of, from, cols);
    FOR_TILE(shape, sum[i] = vec_add(sum[i], chain[i]))
}

/* Ask for the lines of y that `columns` columns of `count` rows lie in. */
INLINE void ask_to_write(const float *y, size_t stride, size_t count, size_t columns)
{
    UNROLL
    for (size_t j = 0; j < count; j++) {
        UNROLL
        for (size_t k = 0; k < columns; k += LINE_FLOATS)
            __builtin_prefetch((const void *)((uintptr_t)y + (j * stride + k) * sizeof *y), 1);
    }
}

/* Ask for what the next tile reads of the columns from k on, if that is where a line begins. */
INLINE void ask_for_next(struct tile_shape shape, const struct tile_operands *of, size_t k)
{
    if (k % of->line_cols)
        return;
    UNROLL
    for (size_t j = 0; j < shape.count; j++) {
        const void *line = (const void *)(of->next + j * of->next_stride + k / of->line_cols * LINE_BYTES);
        if (of->next_far)
            __builtin_prefetch(line, 0, 2);
        else
            __builtin_prefetch(line, 0);
    }
}

/* One register tile over `cols` columns. While it is at work it asks for the next. */
INLINE void tile(struct tile_shape shape, const struct tile_operands *of, size_t cols, tile_vecs sum)
{
    const size_t sums = (cols + TILE_SUM_COLS - 1) / TILE_SUM_COLS;
    struct tile_state state;
    for (size_t s = 0; s < sums; s++) {
        const bool last = s + 1 == sums;
        const size_t begin = s * TILE_SUM_COLS, end = last ? cols : begin + TILE_SUM_COLS;
        size_t k = begin, step = 0;
        FOR_TILE(shape, sum[i] = vec_zero())
        for (; k + CHAIN <= end; k += CHAIN, step++) {
            ask_for_next(shape, of, k);
            add_chain(sum, shape, of, k, CHAIN);
            if (s > 1 && step * FOLDS < TILE_VECS)
                fold_some(&state, step);
        }
        if (k < end)
            add_chain(sum, shape, of, k, end - k);
        for (; s > 1 && step * FOLDS < TILE_VECS; step++)
            fold_some(&state, step);
        if (last)
            break;
        if (s > 0) {
            FOR_TILE(shape, state.sum[i] = sum[i])
        } else {
            FOR_TILE(shape, state.total[i] = sum[i])
            for (size_t f = 0; f < TILE_VECS; f++)
                state.lost[f] = vec_zero();
        }
    }
    if (sums > 1) {
        FOR_TILE(shape, sum[i] = kahan_end(&state, i, sum[i]))
    }
}

/* y = or += of a tile of weights. */
INLINE void put_tile(const struct phy_matmul *product, struct tile_shape shape, tile_vecs whole, size_t r, size_t rows,
                     size_t n, bool add)
{
    UNROLL
    for (size_t j = 0; j < shape.count; j++) {
        float *y = product->y + (n + j) * product->y_stride + r;
        float lanes[UNIT_ROWS];
        float *to = rows == UNIT_ROWS ? y : lanes;
        UNROLL
        for (size_t v = 0; v < UNIT_VECS; v++) {
            const vec value = whole[j * UNIT_VECS + v];
            vec_store(to + v * LANES, add && to == y ? vec_add(vec_load(y + v * LANES), value) : value);
        }
        for (size_t i = 0; to != y && i < rows; i++)
            y[i] = add ? y[i] + lanes[i] : lanes[i];
    }
}

/* UNIT_ROWS rows of a panel of weights x `count` rows of x; added to y unless it is the first panel. */
INLINE void panel_tile(const struct phy_matmul *product, const float *panel, size_t r, size_t rows, size_t n,
                       size_t count, size_t k0, size_t cols)
{
    const struct tile_shape shape = shape_of(UNIT_VECS, count);
    const size_t stride = product->cols;
    const float *x = product->x + n * stride + k0;
    const struct tile_operands of = {.lanes = panel,
                                     .k_step = UNIT_ROWS,
                                     .v_step = LANES,
                                     .rows = x,
                                     .stride = stride,
                                     .next = (uintptr_t)x + count * stride * sizeof *x,
                                     .next_stride = stride * sizeof *x,
                                     .line_cols = LINE_FLOATS};
    tile_vecs sum;
    ask_to_write(product->y + n * product->y_stride + r, product->y_stride, count, UNIT_ROWS);
    tile(shape, &of, cols, sum);
    put_tile(product, shape, sum, r, rows, n, k0 > 0);
}

/* A panel of `cols` columns from k0 times all rows of x. */
INLINE void multiply_panel(const struct phy_matmul *product, const float *panel, size_t r, size_t rows, size_t k0,
                           size_t cols)
{
    size_t n = 0;
    for (; n + TILE_COUNT <= product->count; n += TILE_COUNT)
        panel_tile(product, panel, r, rows, n, TILE_COUNT, k0, cols);
    for (; n + 4 <= product->count; n += 4)
        panel_tile(product, panel, r, rows, n, 4, k0, cols);
    for (; n < product->count; n++)
        panel_tile(product, panel, r, rows, n, 1, k0, cols);
}

#endif
