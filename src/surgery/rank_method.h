/* SPDX-License-Identifier: Apache-2.0 */
/* --method, --pattern and --sparsity as what a kernel is told (docs/rank.md). */
#ifndef PHY_SURGERY_RANK_METHOD_H
#define PHY_SURGERY_RANK_METHOD_H

#include "backend/backend.h"
#include "physarium/checkpoint.h"
#include "physarium/targets.h"
#include "surgery/calibration.h"

struct phy_rank_method {
    bool ranked;      /* false: the flow, and nothing below counts */
    const char *name; /* "magnitude", "wanda", "ria" */
    enum phy_rank_score score;
    uint32_t keep, group; /* group 0: sparsity */
    double sparsity;
};

/* method NULL is "flow". `calibrated`: a calibration is given.
 *   PHY_ERR_USAGE  an unknown method or pattern, or a combination that means nothing */
enum phy_status phy_rank_method_choose(struct phy_rank_method *out, const char *method, const char *pattern,
                                       double sparsity, bool calibrated, const struct phy_host *host);

/* For a tensor of so many columns. */
struct phy_rank_params phy_rank_params_of(const struct phy_rank_method *method, uint64_t cols);

/* Bytes that a unit's buffer needs for each column beside its codes: scratch, factor and inverse. */
#define PHY_RANK_COLUMN_BYTES (4u * (PHY_RANK_SCRATCH_WORDS + 2))

/* ---- what a tensor's columns bring to its rows ---- */

/* For one reader of units in output order. */
struct phy_rank_columns {
    const struct phy_rank_method *method;
    const struct phy_checkpoint *donor;
    const struct phy_target_list *targets;
    const struct phy_calibration *calibration; /* or NULL */
    uint64_t *bins;                            /* (PHY_RANK_BINS, widest); ria only, as the next */
    float *inverse;                            /* (widest) of `target` */
    size_t target;                             /* whose sums stand in `inverse`; targets->count: none's */
};

/* What phy_rank_columns_open allocates for these targets. */
uint64_t phy_rank_columns_bytes(const struct phy_rank_method *method, const struct phy_checkpoint *donor,
                                const struct phy_target_list *targets);
/* Columns of the widest target. */
uint64_t phy_rank_widest(const struct phy_checkpoint *donor, const struct phy_target_list *targets);
enum phy_status phy_rank_columns_open(struct phy_rank_columns *out, const struct phy_rank_method *method,
                                      const struct phy_checkpoint *donor, const struct phy_target_list *targets,
                                      const struct phy_calibration *calibration, const struct phy_host *host);
void phy_rank_columns_close(struct phy_rank_columns *columns);

/* Lay out the front of a unit's buffer, (rows->cols) each: scratch, factor, inverse; and fill the last two. A target
 * other than the one before has its sums added up first, read through the rest of the buffer.
 *   PHY_ERR_IO, PHY_ERR_INTERRUPTED (no line is logged) */
enum phy_status phy_rank_columns_fill(struct phy_rank_columns *columns, size_t target, unsigned char *buffer,
                                      size_t buffer_bytes, struct phy_rank_rows *rows, const struct phy_host *host);

#endif
