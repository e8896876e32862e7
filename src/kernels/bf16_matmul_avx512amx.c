/* SPDX-License-Identifier: Apache-2.0 */
/* Products of many rows of x by tiles of AMX: 16 rows of w as they lie times a panel of 16 rows of x as
 * bf16_matmul_avx512bf16.c turns them. TDPBF16PS sums the even and the odd of 32 products apart before it adds them to
 * what there is; four of them are a chain as long as CHAIN_PAIRS there, and chains are added up in float32 likewise.
 *
 * One tile of w meets four panels of x: five tiles are loaded, 8 cycles each, for four products of 16 cycles. The
 * columns of a chain, 16 KiB of x, stay in the first-level cache for all rows of a unit. While the tiles multiply,
 * AVX-512 adds up the chains before. */
#include "kernels/amx_tiles.h"
#include "kernels/bf16_matmul_forms.h"
#include "kernels/vec_avx512.h"

#include "kernels/matmul_turned.h"

enum { STEP_COLS = 32, CHAIN_COLS = 4 * STEP_COLS };

/* A thread's scratch. */
struct tile_scratch {
    struct turned turned;
    float sum[TURNED_ROWS][TURNED_LANES]; /* of PHY_MATMUL_PANEL_COLS columns */
    float chain[2][TURNED_VECS][TILE_ROWS][LANES];
    uint16_t w[TILE_ROWS][STEP_COLS]; /* a tile that can't be read as it lies */
};
_Static_assert(sizeof(struct tile_scratch) <= PHY_MATMUL_PANEL_BYTES, "a thread's scratch is too small");
_Static_assert(TURNED_ROWS % TILE_ROWS == 0, "a unit is whole tiles");

/* A unit of `rows` rows from r on, times panels of x from the one at x on. */
struct tile_unit {
    const struct phy_bf16_matmul *product;
    size_t r, rows;
    const uint32_t *x;
    size_t x_step; /* pairs from panel to panel */
    bool ask;      /* for the rows of the next unit */
    struct tile_scratch *scratch;
};

/* ---- tiles ---- */

/* Zeros beyond the last row and column, as what lies there is not ours. */
static void copy_tile(const struct tile_unit *unit, size_t i, size_t k)
{
    const size_t all = unit->product->cols, cols = all - k < STEP_COLS ? all - k : STEP_COLS;
    const __mmask32 mask = (__mmask32)((UINT64_C(1) << cols) - 1);
    for (size_t j = 0; j < TILE_ROWS; j++) {
        const uint16_t *w = (const uint16_t *)unit->product->w + (unit->r + i + j) * all + k;
        const bool there = i + j < unit->rows;
        _mm512_store_si512(unit->scratch->w[j], there ? _mm512_maskz_loadu_epi16(mask, w) : _mm512_setzero_si512());
    }
    tiles_see_memory();
}

/* Tile 4: rows i .. of the unit and columns k .. of w. */
INLINE void load_w(const struct tile_unit *unit, size_t i, size_t k)
{
    const size_t cols = unit->product->cols;
    const uintptr_t w = (uintptr_t)unit->product->w + ((unit->r + i) * cols + k) * sizeof(uint16_t);
    if (unit->ask) {
        UNROLL
        for (size_t j = TURNED_ROWS; j < TURNED_ROWS + TILE_ROWS; j++)
            __builtin_prefetch((const void *)(w + j * cols * sizeof(uint16_t)), 0, 2);
    }
    if (i + TILE_ROWS <= unit->rows && k + STEP_COLS <= cols) {
        _tile_loadd(4, (const void *)w, cols * sizeof(uint16_t));
    } else {
        copy_tile(unit, i, k);
        _tile_loadd(4, unit->scratch->w, TILE_ROW_BYTES);
    }
}

/* A chain from column k on: tiles 0 .. 3 are its sums with each panel of x; those pass through 5 .. 7. */
INLINE void multiply_chain(const struct tile_unit *unit, size_t vecs, size_t i, size_t k,
                           float chain[TURNED_VECS][TILE_ROWS][LANES])
{
    const size_t cols = unit->product->cols, end = cols - k < CHAIN_COLS ? cols : k + CHAIN_COLS;
    _tile_zero(0);
    if (vecs > 1)
        _tile_zero(1);
    if (vecs > 2)
        _tile_zero(2);
    if (vecs > 3)
        _tile_zero(3);
    for (; k < end; k += STEP_COLS) {
        const uint32_t *x = unit->x + k / 2 * LANES;
        load_w(unit, i, k);
        _tile_loadd(5, x, TILE_ROW_BYTES);
        _tile_dpbf16ps(0, 4, 5);
        if (vecs > 1) {
            _tile_loadd(6, x + unit->x_step, TILE_ROW_BYTES);
            _tile_dpbf16ps(1, 4, 6);
        }
        if (vecs > 2) {
            _tile_loadd(7, x + 2 * unit->x_step, TILE_ROW_BYTES);
            _tile_dpbf16ps(2, 4, 7);
        }
        if (vecs > 3) {
            _tile_loadd(5, x + 3 * unit->x_step, TILE_ROW_BYTES);
            _tile_dpbf16ps(3, 4, 5);
        }
    }
    _tile_stored(0, chain[0], TILE_ROW_BYTES);
    if (vecs > 1)
        _tile_stored(1, chain[1], TILE_ROW_BYTES);
    if (vecs > 2)
        _tile_stored(2, chain[2], TILE_ROW_BYTES);
    if (vecs > 3)
        _tile_stored(3, chain[3], TILE_ROW_BYTES);
}

/* ---- sums ---- */

/* sum = or += the chains of rows i .. */
INLINE void add_chains(struct tile_scratch *scratch, size_t vecs, size_t i, size_t buffer, bool add)
{
    for (size_t j = 0; j < TILE_ROWS; j++) {
        UNROLL
        for (size_t v = 0; v < vecs; v++) {
            float *to = scratch->sum[i + j] + v * LANES;
            const vec value = vec_load(scratch->chain[buffer][v][j]);
            vec_store(to, add ? vec_add(vec_load(to), value) : value);
        }
    }
}

/* out = or += sum of those rows. */
INLINE void add_sums(struct tile_scratch *scratch, size_t vecs, size_t rows, bool add)
{
    for (size_t i = 0; i < rows; i++) {
        vec whole[TURNED_VECS];
        UNROLL
        for (size_t v = 0; v < vecs; v++)
            whole[v] = vec_load(scratch->sum[i] + v * LANES);
        add_turned(&scratch->turned, i, vecs, 1, whole, add);
    }
}

/* Chain c of a panel's columns for rows i .. is multiplied while the last one's sums are added up. */
INLINE void multiply_panel(const struct tile_unit *unit, size_t vecs, size_t k0, size_t cols)
{
    struct tile_scratch *scratch = unit->scratch;
    size_t buffer = 0, last_i = SIZE_MAX, last_k = 0;
    for (size_t k = 0; k < cols; k += CHAIN_COLS) {
        for (size_t i = 0; i < unit->rows; i += TILE_ROWS) {
            multiply_chain(unit, vecs, i, k0 + k, scratch->chain[buffer]);
            buffer ^= 1;
            if (last_i != SIZE_MAX)
                add_chains(scratch, vecs, last_i, buffer, last_k > 0);
            last_i = i;
            last_k = k;
        }
    }
    add_chains(scratch, vecs, last_i, buffer ^ 1, last_k > 0);
    add_sums(scratch, vecs, unit->rows, k0 > 0);
}

static void multiply_unit(const struct tile_unit *unit, size_t vecs)
{
    const size_t all = unit->product->cols;
    for (size_t k0 = 0; k0 < all; k0 += PHY_MATMUL_PANEL_COLS) {
        const size_t cols = all - k0 < PHY_MATMUL_PANEL_COLS ? all - k0 : PHY_MATMUL_PANEL_COLS;
        if (vecs == 4)
            multiply_panel(unit, 4, k0, cols);
        else if (vecs == 3)
            multiply_panel(unit, 3, k0, cols);
        else if (vecs == 2)
            multiply_panel(unit, 2, k0, cols);
        else
            multiply_panel(unit, 1, k0, cols);
    }
}

void phy_bf16_matmul_avx512amx(const struct phy_bf16_matmul *product, size_t row_begin, size_t row_end, float *panel)
{
    static const struct tile_shapes whole = {
        .palette = 1, .row_bytes = {64, 64, 64, 64, 64, 64, 64, 64}, .rows = {16, 16, 16, 16, 16, 16, 16, 16}};
    const size_t pairs = phy_bf16_row_bytes_avx512bf16(product->cols) / sizeof(uint32_t);
    struct tile_scratch *scratch = (struct tile_scratch *)panel;
    configure_tiles(&whole);
    for (size_t r = row_begin; r < row_end; r += TURNED_ROWS) {
        const size_t rows = row_end - r < TURNED_ROWS ? row_end - r : TURNED_ROWS;
        for (size_t n = 0; n < product->count; n += TURNED_LANES) {
            const size_t count = product->count - n < TURNED_LANES ? product->count - n : TURNED_LANES;
            const struct tile_unit unit = {.product = product,
                                           .r = r,
                                           .rows = rows,
                                           .x = (const uint32_t *)product->x + n * pairs,
                                           .x_step = LANES * pairs,
                                           .ask = n == 0,
                                           .scratch = scratch};
            multiply_unit(&unit, (count + LANES - 1) / LANES);
            put_turned(&scratch->turned, rows, product->y + n * product->y_stride + r, product->y_stride, count);
        }
    }
    _tile_release();
}
