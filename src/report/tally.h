/* SPDX-License-Identifier: Apache-2.0 */
/* Counts by projection, by layer, and by both. */
#ifndef PHY_REPORT_TALLY_H
#define PHY_REPORT_TALLY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "report/surgery_report.h"

struct phy_tally_line {
    uint64_t tensors, elements, processed, killed, zero_before;
    /* killed / elements over single tensors; the mean is sparsity_sum / tensors. */
    double sparsity_sum, sparsity_min, sparsity_max;
};

struct phy_tally_cell {
    uint32_t layer;      /* index in layers */
    uint32_t projection; /* index in projections */
    struct phy_tally_line line;
};

struct phy_tally {
    const char *
        *projections; /* borrowed names: the seven default ones in the order of a block, then the others by name */
    struct phy_tally_line *projection_lines;
    size_t projection_count;
    uint32_t *layers; /* ascending, PHY_NO_LAYER last */
    struct phy_tally_line *layer_lines;
    size_t layer_count;
    struct phy_tally_cell *cells; /* those that have tensors, by layer, then projection */
    size_t cell_count;
    struct phy_tally_line target;
    uint64_t total_tensors, total_elements, total_bytes; /* targets and all others */
    bool processed_fits;                                 /* every target's processed is its elements */
};

/* False when memory ran out; free in any case. */
bool phy_tally_make(struct phy_tally *out, const struct phy_report_tensor *tensors, size_t count);
void phy_tally_free(struct phy_tally *tally);

/* Sum of killed / elements, 0 for nothing. */
double phy_tally_sparsity(const struct phy_tally_line *line);

/* A layer, or one projection of one, whose sparsity is far from the median of its kind: more than 3.5 times the robust
 * standard deviation (1.4826 x the median absolute deviation, at least 0.2 percentage points). */
struct phy_outlier {
    uint32_t layer;
    uint32_t projection; /* index, or UINT32_MAX for the whole layer */
    double sparsity, median;
};
/* The `capacity` farthest ones, farthest first; SIZE_MAX when memory ran out. Kinds of fewer than 5 are not judged. */
size_t phy_tally_outliers(const struct phy_tally *tally, struct phy_outlier *out, size_t capacity);

#endif
