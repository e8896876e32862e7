/* SPDX-License-Identifier: Apache-2.0 */
/* The float32 products of matmul_turned.h, included after matmul_tile.h and
 *
 *   WIDE_COLS                                   columns that are widened at a time: whole sums of TILE_SUM_COLS
 *   WIDEN_EARLY                                 of all rows of a unit; else, if they are one sum, of a tile's before it
 *   LINE_COLS(type)                             columns that lie in a line of the cache, or fewer
 *   weight_row(product, type, r, k0)            where column k0 of row r of w lies; k0 is a multiple of WIDE_COLS
 *   widen_row(product, type, r, k0, cols, to)   so many columns from there */
#include "kernels/matmul_turned.h"

/* Sums of the last tile, which are added to its totals a few at a time between the chains of the next. */
struct turned_sums {
    tile_vecs sum;
    vec *total, *lost; /* NULL: there are none */
};

/* A thread's scratch. What tile_state (matmul_tile.h) is for a tile is here for each row of a unit, as the columns of
 * one sum are multiplied for all rows: those of x, 16 KiB, then stay in the first-level cache, where all columns would
 * come from the second level for each tile and take longer than the multiplications. */
struct turned_scratch {
    struct turned turned;
    vec total[TURNED_ROWS * TURNED_VECS], lost[TURNED_ROWS * TURNED_VECS];
    float rows[TURNED_ROWS][WIDE_COLS + LANES]; /* a pitch that does not map rows to the same cache set */
};
_Static_assert(sizeof(struct turned_scratch) <= PHY_MATMUL_PANEL_BYTES, "a thread's scratch is too small");

_Static_assert(TILE_VECS % FOLDS == 0 && TILE_VECS % 12 == 0, "every shape has TILE_VECS sums, and folds are whole");

INLINE void fold_turned(struct turned_sums *sums, size_t step)
{
    UNROLL
    for (size_t i = step * FOLDS; i < (step + 1) * FOLDS; i++)
        vec_add_kahan(&sums->total[i], &sums->lost[i], sums->sum[i]);
}

/* A unit of `rows` rows of w from r on, times the panels of x from the one at `x` on. */
struct turned_unit {
    const struct phy_matmul *product;
    const float *x;
    size_t r, rows;
    struct turned_scratch *scratch;
};

/* Where the columns lie that are widened after those from k on. */
INLINE uintptr_t next_columns(const struct turned_unit *unit, enum phy_weight_type type, size_t row, size_t k)
{
    const bool more = k + WIDE_COLS < unit->product->cols;
    return weight_row(unit->product, type, unit->r + row + (more ? 0 : TURNED_ROWS), more ? k + WIDE_COLS : 0);
}

/* Rows of the unit from `row` on over one sum's columns, `at` of those that are widened, of which the first is column
 * k. The last tile's sums are folded, this one's take their place. */
INLINE void turned_tile(const struct turned_unit *unit, enum phy_weight_type type, struct tile_shape shape, size_t row,
                        size_t k, size_t at, size_t cols, struct turned_sums *sums)
{
    struct turned_scratch *scratch = unit->scratch;
    const uintptr_t next = next_columns(unit, type, row, k);
    const struct tile_operands of = {.lanes = unit->x + (k + at) * LANES,
                                     .k_step = LANES,
                                     .v_step = unit->product->cols * LANES,
                                     .rows = scratch->rows[row] + at,
                                     .stride = sizeof scratch->rows[0] / sizeof(float),
                                     .next = next + at / LINE_COLS(type) * LINE_BYTES,
                                     .next_stride = next_columns(unit, type, row + 1, k) - next,
                                     .line_cols = LINE_COLS(type),
                                     .next_far = true};
    tile_vecs sum;
    size_t from = 0, step = 0;
    FOR_TILE(shape, sum[i] = vec_zero())
    for (; from + CHAIN <= cols; from += CHAIN, step++) {
        ask_for_next(shape, &of, from);
        add_chain(sum, shape, &of, from, CHAIN);
        if (sums->total && step * FOLDS < TILE_VECS)
            fold_turned(sums, step);
    }
    if (from < cols)
        add_chain(sum, shape, &of, from, cols - from);
    for (; sums->total && step * FOLDS < TILE_VECS; step++)
        fold_turned(sums, step);
    sums->total = NULL;
    if ((k + at) % PHY_MATMUL_PANEL_COLS == 0) {
        FOR_TILE(shape, scratch->total[row * shape.vecs + i] = sum[i])
        FOR_TILE(shape, scratch->lost[row * shape.vecs + i] = vec_zero())
    } else {
        FOR_TILE(shape, sums->sum[i] = sum[i])
        sums->total = scratch->total + row * shape.vecs;
        sums->lost = scratch->lost + row * shape.vecs;
    }
}

/* out = or += what a panel's columns add up to. */
INLINE void put_totals(const struct turned_unit *unit, struct tile_shape shape, struct turned_sums *sums, bool add)
{
    struct turned_scratch *scratch = unit->scratch;
    for (size_t step = 0; sums->total && step * FOLDS < TILE_VECS; step++)
        fold_turned(sums, step);
    sums->total = NULL;
    for (size_t i = 0; i < unit->rows * shape.vecs; i++) {
        float *to = scratch->turned.out[i / shape.vecs] + i % shape.vecs * LANES;
        const vec whole = vec_sub(scratch->total[i], scratch->lost[i]);
        vec_store(to, add ? vec_add(vec_load(to), whole) : whole);
    }
}

/* Columns k .. of `count` rows from `row` on */
INLINE void widen_rows(const struct turned_unit *unit, enum phy_weight_type type, size_t row, size_t count, size_t k,
                       size_t cols)
{
    for (size_t i = row; i < row + count && i < unit->rows; i++)
        widen_row(unit->product, type, unit->r + i, k, cols, unit->scratch->rows[i]);
}

/* Tiles that the unit ends in multiply rows that are not there: what they leave is not used. */
INLINE void multiply_unit(const struct turned_unit *unit, enum phy_weight_type type, struct tile_shape shape)
{
    const size_t cols = unit->product->cols;
    struct turned_sums sums = {.total = NULL};
    for (size_t k = 0; k < cols; k += WIDE_COLS) {
        const size_t wide = cols - k < WIDE_COLS ? cols - k : WIDE_COLS, end = k + wide;
        if (WIDEN_EARLY)
            widen_rows(unit, type, 0, unit->rows, k, wide);
        for (size_t at = 0; at < wide; at += TILE_SUM_COLS) {
            const size_t some = wide - at < TILE_SUM_COLS ? wide - at : TILE_SUM_COLS;
            for (size_t row = 0; row < unit->rows; row += shape.count) {
                if (!WIDEN_EARLY)
                    widen_rows(unit, type, row, shape.count, k, some);
                turned_tile(unit, type, shape, row, k, at, some, &sums);
            }
        }
        if (end == cols || end % PHY_MATMUL_PANEL_COLS == 0)
            put_totals(unit, shape, &sums, end > PHY_MATMUL_PANEL_COLS);
    }
}

INLINE void matmul_turned(const struct phy_matmul *product, enum phy_weight_type type, size_t row_begin, size_t row_end,
                          struct turned_scratch *scratch)
{
    for (size_t r = row_begin; r < row_end; r += TURNED_ROWS) {
        const size_t rows = row_end - r < TURNED_ROWS ? row_end - r : TURNED_ROWS;
        for (size_t n = 0; n < product->count; n += TURNED_LANES) {
            const size_t count = product->count - n < TURNED_LANES ? product->count - n : TURNED_LANES;
            const struct turned_unit unit = {product, product->x_panels + n * product->cols, r, rows, scratch};
            if (count > 3 * LANES)
                multiply_unit(&unit, type, shape_of(4, TILE_VECS / 4));
            else if (count > 2 * LANES)
                multiply_unit(&unit, type, shape_of(3, TILE_VECS / 3));
            else if (count > LANES)
                multiply_unit(&unit, type, shape_of(2, TILE_VECS / 2));
            else
                multiply_unit(&unit, type, shape_of(1, TILE_VECS));
            put_turned(&scratch->turned, rows, product->y + n * product->y_stride + r, product->y_stride, count);
        }
    }
}
