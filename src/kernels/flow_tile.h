/* SPDX-License-Identifier: Apache-2.0 */
/* The flow of one tile: the kernel contract.
 *
 * Source of the arithmetic: docs/tile-flow.md (the same text as tools/flow_ref.py, executable numpy). Every form below
 * gives the same conductance bits for every input, so the same mask and the same output bytes. A difference is a bug.
 *
 * What it computes: from the tile's codes the food |w| (times the column's scale), `iterations` steps of the flow, and
 * the conductance D of every weight. D < 1/2 means killed; a killed weight that is not already zero becomes +0 in the
 * donor's own type when `apply` is set. Zeros keep their sign and are never killed.
 *
 * Aliasing: codes, column_scale, conductance and scratch must not overlap.
 * Alignment: codes need only their element's alignment; scratch needs 64 bytes.
 * Floating-point environment: a form sets its own mode while it runs (round to nearest; subnormals kept while food is
 * formed, flushed while it flows, which is several times faster) and restores the caller's before it returns.
 *
 * Subnormal intermediates: the CPU's forms all flush them and agree on every bit of D. A device that keeps them gives
 * the same bits for every D >= 2^-60, and so for all D of up to 60 iterations: D at most halves in one, the reciprocal
 * of the tile's mean is at most 2^16 and a supply at most 2^24, so that what flushing drops adds less than 2^-86 to a
 * D, half of its last place or less. Below, compare such a device with PHY_FLOW_SMALLEST_COMPARED. D < 2^-21 carries no
 * flux.
 */
#ifndef PHY_KERNELS_FLOW_TILE_H
#define PHY_KERNELS_FLOW_TILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cpu_features.h"

enum { PHY_FLOW_MAX_BLOCK = 256 };

enum phy_float_type { PHY_FLOAT_BF16, PHY_FLOAT_F16, PHY_FLOAT_F32 };

/* Bytes of one code: 2, 2, 4. */
static inline size_t phy_float_bytes(enum phy_float_type type)
{
    return type == PHY_FLOAT_F32 ? 4 : 2;
}

/* bits of 2^64: a food with these bits or more (infinity and NaN included) is refused. */
#define PHY_FLOW_FOOD_LIMIT_BITS UINT32_C(0x5f800000)

/* 2^-60: see above. Smaller conductances count as equal between a form that flushes subnormals and one that does not.
 */
#define PHY_FLOW_SMALLEST_COMPARED 0x1p-60f

struct phy_flow_params {
    float gain;          /* 1/16 .. 64 */
    uint32_t beta;       /* 1 .. 4 */
    uint32_t iterations; /* 1 .. 1000 */
    uint32_t block;      /* 32, 64, 128 or 256 */
};

/* One tile. rows and cols are 1 .. block. */
struct phy_flow_tile {
    void *codes;       /* (rows, cols) row-major, row_stride elements from row to row; written when apply */
    size_t row_stride; /* elements */
    enum phy_float_type type;
    uint32_t rows, cols;
    const float *column_scale; /* (cols) finite, >= 0; or NULL */
    float *conductance;        /* (rows, cols) dense, receives D; or NULL */
    bool apply;                /* write +0 over killed codes */
};

struct phy_flow_tile_result {
    uint32_t killed;      /* weights with D < 1/2 that were not zero */
    uint32_t zero_before; /* weights that were +0 or -0; a subnormal is not zero */
    /* Largest bits(food) of the tile. At or above PHY_FLOW_FOOD_LIMIT_BITS (by how much, forms may differ: NaN
     * payloads) nothing else was computed or written, and the caller finds row and column with
     * phy_flow_tile_find_refused. */
    uint32_t peak_bits;
};

/* Scratch bytes that any form needs: D and food as float32, and line sums. */
#define PHY_FLOW_SCRATCH_BYTES ((size_t)3 * PHY_FLOW_MAX_BLOCK * PHY_FLOW_MAX_BLOCK * sizeof(float) + 65536)

struct phy_flow_variant {
    const char *name; /* "ref", "avx2", "avx512" */
    struct phy_cpu_features needs;
    void (*run)(const struct phy_flow_tile *tile, const struct phy_flow_params *params, void *scratch,
                struct phy_flow_tile_result *result);
};

/* Slowest first, "ref" at index 0; ends with name NULL. Variants that this build has no code for are absent. */
extern const struct phy_flow_variant phy_flow_variants[];

/* The last variant whose needs are met. */
const struct phy_flow_variant *phy_flow_variant_best(const struct phy_cpu_features *have);
/* By name; NULL if there is none of that name. */
const struct phy_flow_variant *phy_flow_variant_named(const char *name);

/* Row and column of the first weight, row by row, whose food is refused. False if there is none. */
bool phy_flow_tile_find_refused(const struct phy_flow_tile *tile, uint32_t *row, uint32_t *col);

#endif
