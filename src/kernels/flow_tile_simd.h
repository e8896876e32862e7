/* SPDX-License-Identifier: Apache-2.0 */
/* The tile flow on vectors: one body for every width. The including file defines, before it includes this one,
 *
 *   LANES, GROUP            floats in a vector; rows that are worked on together
 *   vf, vi, vm              vectors of float, of uint32, and a condition for each lane
 *   vf_* vi_* vm_*          operations, each one IEEE operation or one integer operation on every lane
 *   load_magnitudes         bits(|w|) of up to LANES codes, zero in the lanes past the count; reads no further
 *   clear_codes             +0 over the chosen codes; writes no other
 *   row_totals              the sums of GROUP vectors over their lanes, in order
 *
 * What keeps every D bit the same although it is not what flow_tile_ref.c writes:
 *   - Lines are padded to whole vectors and groups. A padded cell has food 0, so it carries nothing and adds nothing.
 *   - Sums are of integers: their order does not matter.
 *   - "Folded" cells hold 2D and food * 2^15, supplies are scaled by 2^-16: exact powers of two, so the product is the
 *     flux already, share is unchanged, and (D + a)/2 becomes one fused D + a, whose product 2D * 1/2 is exact. This
 *     holds while nothing subnormal matters: up to PHY_FLOW_FOLDED_ITERATIONS (see flow_tile.h). After that D may be as
 *     small as it likes, and the plain cells, D and food, do every operation as the reference does. */
#ifndef PHY_KERNELS_FLOW_TILE_SIMD_H
#define PHY_KERNELS_FLOW_TILE_SIMD_H

#include "kernels/flow_tile_forms.h"

#define ALWAYS_INLINE inline __attribute__((always_inline))
#ifdef __clang__
#define EACH(k, count) _Pragma("clang loop unroll(full)") for (uint32_t k = 0; k < (count); k++)
#else
#define EACH(k, count) _Pragma("GCC unroll 8") for (uint32_t k = 0; k < (count); k++)
#endif

enum { PHY_FLOW_FOLDED_ITERATIONS = 60 };

/* A tile in scratch. Cells stand in the order in which they are visited: group of rows, vector of columns, row of the
 * group; conductances and food of one vector are neighbours. So an iteration reads and writes one stream. */
struct network {
    uint32_t rows, cols;     /* of the tile */
    uint32_t groups, strips; /* ceil(rows / GROUP), ceil(cols / LANES) */
    float *cells;            /* (groups, strips, GROUP, 2, LANES) */
    uint32_t *row_sum, *col_sum;
    float *row_supply, *col_supply; /* (groups * GROUP rounded up to LANES), (strips * LANES) */
};

static struct network network_in(void *scratch, uint32_t rows, uint32_t cols)
{
    float *cells = scratch;
    float *lines = cells + 2 * PHY_FLOW_MAX_BLOCK * PHY_FLOW_MAX_BLOCK;
    return (struct network){
        .rows = rows,
        .cols = cols,
        .groups = (rows + GROUP - 1) / GROUP,
        .strips = (cols + LANES - 1) / LANES,
        .cells = cells,
        .row_sum = (uint32_t *)lines,
        .col_sum = (uint32_t *)lines + PHY_FLOW_MAX_BLOCK,
        .row_supply = lines + 2 * PHY_FLOW_MAX_BLOCK,
        .col_supply = lines + 3 * PHY_FLOW_MAX_BLOCK,
    };
}

/* LANES conductances; LANES of food follow. */
static ALWAYS_INLINE float *cell_at(const struct network *n, uint32_t row, uint32_t strip)
{
    return n->cells + (((size_t)(row / GROUP) * n->strips + strip) * GROUP + row % GROUP) * 2 * LANES;
}

static uint32_t lanes_left(uint32_t cols, uint32_t strip)
{
    return cols - strip * LANES < LANES ? cols - strip * LANES : LANES;
}

/* 1/y for normal y > 0 is recip_step twice, from recip_start. */
static ALWAYS_INLINE vf recip_start(vf y)
{
    return vf_of_bits(vi_sub(vi_set(0x7EF311C7u), vf_bits(y)));
}

static ALWAYS_INLINE vf recip_step(vf y, vf x)
{
    return vf_mul(x, vf_sub(vf_set(2.0f), vf_mul(y, x)));
}

static ALWAYS_INLINE vf recip(vf y)
{
    return recip_step(y, recip_step(y, recip_start(y)));
}

/* Food as the codes have it, and zero where a line is padded. */
static ALWAYS_INLINE void widen_row(const struct phy_flow_tile *tile, enum phy_float_type type, bool scaled,
                                    const struct network *n, uint32_t row, vi *peak, uint32_t *zeros)
{
    const vi smallest_normal = vi_set(0x00800000u);
    for (uint32_t strip = 0; strip < n->strips; strip++) {
        uint32_t count = lanes_left(n->cols, strip);
        vi bits = load_magnitudes(tile->codes, type, row * tile->row_stride + strip * LANES, count);
        *zeros += vm_count(vi_equal(bits, vi_set(0))) - (LANES - count);
        bits = vi_zero_below(bits, smallest_normal);
        if (scaled) {
            vf scale = load_floats(tile->column_scale + strip * LANES, count);
            bits = vi_zero_below(vf_bits(vf_mul(vf_of_bits(bits), scale)), smallest_normal);
        }
        *peak = vi_max(*peak, bits);
        vf_store(cell_at(n, row, strip) + LANES, vf_of_bits(bits));
    }
}

static ALWAYS_INLINE void widen_typed(const struct phy_flow_tile *tile, enum phy_float_type type, bool scaled,
                                      const struct network *n, struct phy_flow_tile_result *result)
{
    vi peak = vi_set(0);
    uint32_t zeros = 0;
    for (uint32_t row = 0; row < n->rows; row++)
        widen_row(tile, type, scaled, n, row, &peak, &zeros);
    for (uint32_t row = n->rows; row < n->groups * GROUP; row++) {
        for (uint32_t strip = 0; strip < n->strips; strip++)
            vf_store(cell_at(n, row, strip) + LANES, vf_set(0.0f));
    }
    result->peak_bits = vi_largest(peak);
    result->zero_before = zeros;
}

static __attribute__((noinline)) void widen(const struct phy_flow_tile *tile, const struct network *n,
                                            struct phy_flow_tile_result *result)
{
    bool scaled = tile->column_scale != NULL;
    if (tile->type == PHY_FLOAT_BF16 && !scaled)
        widen_typed(tile, PHY_FLOAT_BF16, false, n, result);
    else if (tile->type == PHY_FLOAT_BF16)
        widen_typed(tile, PHY_FLOAT_BF16, true, n, result);
    else if (tile->type == PHY_FLOAT_F16)
        widen_typed(tile, PHY_FLOAT_F16, scaled, n, result);
    else
        widen_typed(tile, PHY_FLOAT_F32, scaled, n, result);
}

/* The reciprocal of the tile's mean food, once food is scaled by `scale`. */
static float inverse_mean(const struct network *n, float scale)
{
    uint32_t total = 0; /* < 2^31 */
    for (uint32_t group = 0; group < n->groups; group++) {
        const float *cell = cell_at(n, group * GROUP, 0);
        vi sum[GROUP] = {0};
        uint32_t row_sum[GROUP]; /* < 2^31 */
        for (uint32_t strip = 0; strip < n->strips; strip++) {
            EACH(k, GROUP)
            {
                vf food = vf_mul(vf_load(cell + LANES), vf_set(scale));
                sum[k] = vi_add(sum[k], vf_truncate(vf_mul(food, vf_set(4194304.0f))));
                cell += 2 * LANES;
            }
        }
        row_totals(sum, row_sum);
        for (uint32_t k = 0; k < GROUP; k++)
            total += row_sum[k] >> 8;
    }
    float mean = (float)(total >> 8) * (float)(0.015625 / (double)(n->rows * n->cols));
    return phy_flow_recip(mean);
}

/* Food becomes food / tile mean, at most 32; every D is 1; and the sums of that flux. */
static ALWAYS_INLINE void start(const struct network *n, uint32_t peak_bits, bool folded)
{
    const vf scale = vf_set(phy_float_of_bits((254u - (peak_bits >> 23)) << 23)); /* peak * scale is in [1, 2) */
    const vf inverse = vf_set(inverse_mean(n, phy_float_of_bits((254u - (peak_bits >> 23)) << 23)));
    memset(n->col_sum, 0, n->strips * LANES * sizeof *n->col_sum);
    for (uint32_t group = 0; group < n->groups; group++) {
        float *cell = cell_at(n, group * GROUP, 0);
        vi row_sum[GROUP] = {0};
        for (uint32_t strip = 0; strip < n->strips; strip++) {
            vi col_sum = vi_load(n->col_sum + strip * LANES);
            EACH(k, GROUP)
            {
                vf food = vf_mul(vf_mul(vf_load(cell + LANES), scale), inverse);
                food = vf_min(food, vf_set(32.0f));
                vi u = vf_truncate(vf_mul(food, vf_set(65536.0f)));
                row_sum[k] = vi_add(row_sum[k], u);
                col_sum = vi_add(col_sum, u);
                vf_store(cell, vf_set(folded ? 2.0f : 1.0f));
                vf_store(cell + LANES, folded ? vf_mul(food, vf_set(32768.0f)) : food);
                cell += 2 * LANES;
            }
            vi_store(n->col_sum + strip * LANES, col_sum);
        }
        row_totals(row_sum, n->row_sum + group * GROUP);
    }
}

/* gain/2 divided by the mean flux of each line of `count` cells; 0 for a line that carries nothing. */
static ALWAYS_INLINE void supply(float *supplies, const uint32_t *sums, uint32_t lines, float gain, uint32_t count,
                                 bool folded)
{
    float k = 0.5f * gain * (float)count * 1024.0f;
    const vf factor = vf_set(folded ? k * 0x1p-16f : k);
    for (uint32_t i = 0; i < lines; i += LANES) {
        vi s = vi_shift_right(vi_load(sums + i), 6); /* < 2^24, so the conversion is exact */
        vf_store(supplies + i, vf_unless_zero(s, vf_mul(factor, recip(vf_of_integers(s)))));
    }
}

/* One vector of each row of a group, half way through an iteration. A cell's operations wait for one another for some
 * fifty cycles, which is more than the processor's window hides, so one vector's second half runs beside the next one's
 * first. */
struct response {
    vf q[GROUP], y[GROUP], x[GROUP]; /* response, 1 + response, and the first approximation of 1 / y */
};

static ALWAYS_INLINE struct response respond(const float *cell, const vf *row_supply, vf col_supply, uint32_t beta)
{
    struct response half;
    EACH(k, GROUP)
    {
        vf g = vf_mul(vf_load(cell + 2 * k * LANES), vf_load(cell + (2 * k + 1) * LANES));
        vf share = vf_mul(g, vf_add(row_supply[k], col_supply));
        half.q[k] = share;
        for (uint32_t b = 1; b < beta; b++)
            half.q[k] = vf_mul(half.q[k], share);
        half.y[k] = vf_add(vf_set(1.0f), half.q[k]);
        half.x[k] = recip_step(half.y[k], recip_start(half.y[k]));
    }
    return half;
}

/* The second half. Adds the new flux to the sums; returns col_sum. */
static ALWAYS_INLINE vi grow(const struct response *half, float *cell, vi *row_sum, vi col_sum, bool folded)
{
    EACH(k, GROUP)
    {
        vf a = vf_mul(half->q[k], recip_step(half->y[k], half->x[k]));
        vf d = vf_load(cell + 2 * k * LANES);
        d = folded ? vf_fused(d, vf_set(0.5f), a) : vf_mul(vf_add(d, a), vf_set(0.5f));
        vf_store(cell + 2 * k * LANES, d);
        vf g = vf_mul(d, vf_load(cell + (2 * k + 1) * LANES));
        vi u = vf_truncate(folded ? g : vf_mul(g, vf_set(65536.0f)));
        row_sum[k] = vi_add(row_sum[k], u);
        col_sum = vi_add(col_sum, u);
    }
    return col_sum;
}

static ALWAYS_INLINE void iterate(const struct network *n, float gain, uint32_t beta, bool folded)
{
    const uint32_t groups = n->groups, strips = n->strips;
    const float *col_supplies = n->col_supply;
    uint32_t *col_sums = n->col_sum;
    float *cell = n->cells;
    supply(n->row_supply, n->row_sum, n->rows, gain, n->cols, folded);
    supply(n->col_supply, n->col_sum, n->cols, gain, n->rows, folded);
    memset(col_sums, 0, strips * LANES * sizeof *col_sums);
    for (uint32_t group = 0; group < groups; group++) {
        vi row_sum[GROUP] = {0};
        vf row_supply[GROUP];
        EACH(k, GROUP) row_supply[k] = vf_set(n->row_supply[group * GROUP + k]);
        struct response half = respond(cell, row_supply, vf_load(col_supplies), beta);
        for (uint32_t strip = 0; strip + 1 < strips; strip++) {
            struct response next =
                respond(cell + 2 * GROUP * LANES, row_supply, vf_load(col_supplies + (strip + 1) * LANES), beta);
            vi_store(col_sums + strip * LANES, grow(&half, cell, row_sum, vi_load(col_sums + strip * LANES), folded));
            half = next;
            cell += 2 * GROUP * LANES;
        }
        uint32_t *last = col_sums + (strips - 1) * LANES;
        vi_store(last, grow(&half, cell, row_sum, vi_load(last), folded));
        cell += 2 * GROUP * LANES;
        row_totals(row_sum, n->row_sum + group * GROUP);
    }
}

static ALWAYS_INLINE void flow_as(const struct network *n, uint32_t peak_bits, const struct phy_flow_params *params,
                                  uint32_t beta, bool folded)
{
    start(n, peak_bits, folded);
    for (uint32_t i = 0; i < params->iterations; i++)
        iterate(n, params->gain, beta, folded);
}

static bool is_folded(const struct phy_flow_params *params)
{
    return params->iterations <= PHY_FLOW_FOLDED_ITERATIONS;
}

static __attribute__((noinline)) void flow(const struct network *n, uint32_t peak_bits,
                                           const struct phy_flow_params *params)
{
    if (is_folded(params)) {
        switch (params->beta) {
        case 1:
            flow_as(n, peak_bits, params, 1, true);
            return;
        case 2:
            flow_as(n, peak_bits, params, 2, true);
            return;
        case 3:
            flow_as(n, peak_bits, params, 3, true);
            return;
        default:
            flow_as(n, peak_bits, params, 4, true);
            return;
        }
    }
    flow_as(n, peak_bits, params, params->beta, false);
}

static __attribute__((noinline)) void count_and_clear(const struct phy_flow_tile *tile, const struct network *n,
                                                      float half, struct phy_flow_tile_result *result)
{
    for (uint32_t row = 0; row < n->rows; row++) {
        for (uint32_t strip = 0; strip < n->strips; strip++) {
            size_t index = row * tile->row_stride + strip * LANES;
            uint32_t count = lanes_left(n->cols, strip);
            vi bits = load_magnitudes(tile->codes, tile->type, index, count);
            vm killed = vm_unless(vf_less(vf_load(cell_at(n, row, strip)), vf_set(half)), vi_equal(bits, vi_set(0)));
            result->killed += vm_count(killed);
            if (tile->apply)
                clear_codes(tile->codes, tile->type, index, count, killed);
        }
    }
}

static void give_conductance(float *out, const struct network *n, float unit)
{
    for (uint32_t row = 0; row < n->rows; row++) {
        for (uint32_t strip = 0; strip < n->strips; strip++) {
            _Alignas(64) float d[LANES];
            vf_store(d, vf_mul(vf_load(cell_at(n, row, strip)), vf_set(unit)));
            memcpy(out + (size_t)row * n->cols + strip * LANES, d, lanes_left(n->cols, strip) * sizeof *d);
        }
    }
}

static ALWAYS_INLINE void run_tile(const struct phy_flow_tile *tile, const struct phy_flow_params *params,
                                   void *scratch, struct phy_flow_tile_result *result)
{
    const struct network n = network_in(scratch, tile->rows, tile->cols);
    *result = (struct phy_flow_tile_result){0};
    uint64_t mode = phy_float_mode_set(PHY_FLOAT_MODE_IEEE);
    widen(tile, &n, result);
    if (result->peak_bits >= PHY_FLOW_FOOD_LIMIT_BITS) {
        result->zero_before = 0;
    } else if (result->peak_bits == 0) { /* an all-zero tile has nothing to kill */
        for (size_t i = 0; tile->conductance && i < (size_t)n.rows * n.cols; i++)
            tile->conductance[i] = 1.0f;
    } else {
        phy_float_mode_set(PHY_FLOAT_MODE_FLUSH);
        flow(&n, result->peak_bits, params);
        float unit = is_folded(params) ? 0.5f : 1.0f; /* D of what a cell holds */
        count_and_clear(tile, &n, 0.5f / unit, result);
        if (tile->conductance)
            give_conductance(tile->conductance, &n, unit);
    }
    phy_float_mode_restore(mode);
}

#endif
