/* SPDX-License-Identifier: Apache-2.0 */
/* Ranking the weights of each row and killing the lowest: the kernel contract of the scores that the flow is compared
 * with (docs/rank.md; tools/rank_ref.py is the same in numpy).
 *
 * Score of a weight w at row i, column j, every operation one binary32 operation rounded to nearest, in this order:
 *
 *   a         = |w| widened exactly; 0 when it is subnormal
 *   magnitude   a
 *   wanda       a * scale[j]
 *   ria         a * (1/R_i + 1/C_j), times root[j] when there is one
 *
 * and 0 when it comes out subnormal. R_i and C_j are the sums of `a` over the row and the whole column of the tensor,
 * added exactly and then cut to 24 bits, so that neither order nor width of the machine can change them; 1/y is the
 * flow's recip(y), and 0 when the sum is 0. Subnormal intermediates are kept.
 *
 * Of each row, or of each aligned group of columns, the given number of weights with the lowest score is killed; of
 * equal scores the lower column goes first. Weights that are +0 or -0 take part (their score is 0, so they go first)
 * but are counted as zero, not as killed, and keep their bits. Scores are not negative, so their bits order them as
 * integers.
 *
 * Every form gives the same bytes and counts for every input. A difference is a bug. Aliasing: nothing may overlap.
 * Alignment: each array that of its elements. Floating-point environment: a form sets its own and restores the
 * caller's. */
#ifndef PHY_KERNELS_RANK_ROWS_H
#define PHY_KERNELS_RANK_ROWS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/flow_tile.h"

enum phy_rank_score { PHY_RANK_MAGNITUDE, PHY_RANK_WANDA, PHY_RANK_RIA };

/* Which weights go: `kill` of each row, or, with a group, all but `keep` of each `group` columns. A last group of only
 * n columns keeps ceil(n * keep / group) of them. */
struct phy_rank_params {
    enum phy_rank_score score;
    uint32_t keep, group; /* group 0: quota of the row; else 0 < keep < group <= PHY_RANK_MAX_GROUP */
    uint64_t kill;        /* <= cols */
};

enum { PHY_RANK_MAX_GROUP = 32 };

/* Whole rows of a tensor. */
struct phy_rank_rows {
    void *codes; /* (rows, cols) row-major, dense; killed weights become +0 when apply */
    enum phy_float_type type;
    size_t rows, cols;
    const float *column_factor;  /* (cols) finite, >= 0: wanda's scale, ria's root; or NULL */
    const float *column_inverse; /* (cols) ria: phy_rank_inverse of each column's sum */
    bool apply;
    uint32_t *scratch; /* (PHY_RANK_SCRATCH_WORDS * cols) */
    /* (rows), receives counts. peak_bits: the largest bits(a), with wanda bits(a * scale[j]). A row where it reaches
     * PHY_FLOW_FOOD_LIMIT_BITS is left as it is. */
    struct phy_flow_tile_result *results;
};

enum { PHY_RANK_SCRATCH_WORDS = 2 };

struct phy_rank_variant {
    const char *name; /* "ref", "avx2", "avx512" */
    struct phy_cpu_features needs;
    void (*run)(const struct phy_rank_rows *rows, const struct phy_rank_params *params);
};

/* Slowest first, "ref" at index 0; ends with name NULL. */
extern const struct phy_rank_variant phy_rank_variants[];
const struct phy_rank_variant *phy_rank_variant_named(const char *name);

/* ---- exact sums ----
 * A sum of binary32 magnitudes below 2^64 is held in 16 bins of 64 bits: bin k counts units of 2^(16 k - 150). A value
 * of exponent e goes to bin e >> 4 as its 24-bit mantissa shifted by e & 15, at most 39 bits. */
enum { PHY_RANK_BINS = 16, PHY_RANK_SUM_MOST = 1 << 24 };

/* Add the magnitudes of `rows` rows of codes to the columns' sums. bins: (PHY_RANK_BINS, cols). Not finite or too large
 * ones are passed over: ranking refuses them. Fold after at most PHY_RANK_SUM_MOST rows. */
void phy_rank_add_columns(uint64_t *bins, const void *codes, enum phy_float_type type, size_t rows, size_t cols);
/* Carry what is above 16 bits of each bin into the next. */
void phy_rank_fold_columns(uint64_t *bins, size_t cols);
/* recip of each column's sum, 0 for none, after a fold. */
void phy_rank_invert_columns(const uint64_t *bins, size_t cols, float *inverse);

#endif
