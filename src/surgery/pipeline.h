/* SPDX-License-Identifier: Apache-2.0 */
/* Read, compute and write, all at once.
 *
 *   reader --> [ ring of buffers, one unit each, in output order ] --> writer (the calling thread)
 *                          ^ workers: a thread for each slot of each device
 *
 * The reader fills the next free buffer; a worker takes the first flow unit that nobody works on; the writer takes
 * units in order, writes them, hashes them, counts their tiles and journals. What is written is therefore always a
 * prefix of the output, and its bytes do not depend on who computed what. */
#ifndef PHY_SURGERY_PIPELINE_H
#define PHY_SURGERY_PIPELINE_H

#include "base/clock.h"
#include "device/device_set.h"
#include "surgery/calibration.h"
#include "surgery/journal.h"
#include "surgery/output_dir.h"
#include "surgery/output_hash.h"
#include "surgery/rank_method.h"
#include "surgery/results.h"

/* How --memory is spent. */
struct phy_buffer_plan {
    uint64_t unit_bytes, unit_tiles;
    uint32_t unit_count;
};
/* least_unit_bytes: what the smallest unit takes; fixed_bytes: what is needed beside the units.
 * PHY_ERR_LIMIT with a sentence when `memory_bytes` is too little for these devices. */
enum phy_status phy_buffer_plan_make(struct phy_buffer_plan *out, uint64_t memory_bytes,
                                     const struct phy_device_set *devices, uint64_t least_unit_bytes,
                                     uint64_t fixed_bytes, const struct phy_host *host);

struct phy_pipeline_params {
    const struct phy_checkpoint *donor;
    const struct phy_target_list *targets;
    const struct phy_calibration *calibration; /* or NULL */
    struct phy_flow_params flow;
    const struct phy_rank_method *rank; /* in place of the flow; or NULL */
    const struct phy_device_set *devices;
    uint32_t threads; /* of the CPU that takes over when every device is lost; 0: all processors */
    struct phy_buffer_plan buffers;
    const struct phy_output *output; /* its shard files exist */
    struct phy_results *results;     /* goes on from results->shard, results->at, whose prefix has been checked */
    struct phy_output_hash *hash;    /* fed with that prefix of results->shard */
    struct phy_journal *journal;
    uint32_t progress_type; /* journal record type of phy_results_write */
    const struct phy_host *host;
};

/* Write the rest of the output. At the end, and when it was interrupted, everything written has been fsynced and
 * journaled.
 *   PHY_ERR_FORMAT       a weight that is not finite or too large; no resume will help
 *   PHY_ERR_IO, PHY_ERR_MEMORY, PHY_ERR_DEVICE
 *   PHY_ERR_INTERRUPTED  the host asked to stop (no line is logged) */
enum phy_status phy_pipeline_run(const struct phy_pipeline_params *params);

/* Name of a shard's file in the partial directory. */
const char *phy_output_shard_name(const struct phy_output *output, const struct phy_shard_info *shard);

/* Log the first refused weight of a tile whose peak_bits are at the limit; its codes are at row, col of the target.
 * PHY_ERR_FORMAT. */
enum phy_status phy_fail_refused(const struct phy_checkpoint *donor, const struct phy_target *target,
                                 const struct phy_flow_tile *tile, uint64_t row, uint64_t col,
                                 const struct phy_host *host);

/* True for a device that computes on this processor and cannot be lost. */
bool phy_is_cpu(const struct phy_backend *backend);

/* Test seam: a progress record after this much output or time, whichever is first. */
struct phy_pipeline_tuning {
    uint64_t record_bytes;
    double record_seconds;
};
extern struct phy_pipeline_tuning phy_pipeline_tuning;

#endif
