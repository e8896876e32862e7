/* SPDX-License-Identifier: Apache-2.0 */
/* The reports of one surgery, from one record of what was done. */
#ifndef PHY_REPORT_SURGERY_REPORT_H
#define PHY_REPORT_SURGERY_REPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "physarium/eval.h"
#include "physarium/host.h"

/* One tensor, target or not, in data order. Strings are borrowed and raw: the writer escapes them. */
struct phy_report_tensor {
    const char *name;
    size_t name_bytes;
    const char *dtype;
    const char *shard; /* file name */
    uint64_t elements, bytes;
    uint64_t xxh3;  /* XXH3-64, seed 0, of the tensor's bytes in the output */
    double seconds; /* device time spent on its tiles; 0 for a copied tensor */
    bool target;
    /* Targets only. */
    uint64_t rows, cols;
    uint64_t processed; /* counted tile by tile as the work was done (rows * cols of every tile), never copied from the
                           shape */
    uint64_t killed, zero_before;
    double tile_sparsity_min, tile_sparsity_max; /* killed / weights of one tile */
    uint32_t layer;                              /* or PHY_NO_LAYER */
    const char *projection;
    const char *device; /* "cpu:avx512"; devices joined by "+" when several shared it */
};

struct phy_report_shard {
    const char *name;
    uint64_t bytes, header_bytes;
    uint64_t header_xxh3; /* of the first header_bytes bytes */
    uint64_t file_xxh3;   /* of the whole output file */
    double seconds;
};

struct phy_report_stage {
    const char *name; /* "check", "gain search", "stream", "verify", "finish" */
    double seconds;
};

struct phy_report_device {
    const char *name, *description;
    uint64_t weights; /* processed by it */
    double busy_seconds;
};

/* One tile before and after, for the picture: the target tile whose sparsity is nearest the run's mean. NULL pointers:
 * none. */
struct phy_report_tile {
    const char *tensor;
    uint64_t row, col; /* of its first weight */
    uint32_t rows, cols;
    const float *food;        /* (rows, cols) |w| */
    const float *conductance; /* (rows, cols) final D */
};

struct phy_surgery_record {
    const char *donor_name, *output_name; /* last part of the path */
    const char *donor_digest;             /* hex: XXH3 over the shards' headers and sizes */
    const char *device_spec;
    const char *method;             /* "flow"; else there are no gain, beta, iterations and block */
    uint32_t pattern_keep, pattern; /* of each `pattern` columns that many stay; 0: no pattern */
    double gain, sparsity_asked;    /* sparsity_asked 0: gain or pattern was given */
    uint32_t beta, iterations, block, threads;
    uint64_t memory_bytes;
    const char *calibration_name, *calibration_digest; /* NULL without one */
    const struct phy_eval_result *eval; /* the output against the donor as its baseline; NULL: not measured */
    const char *eval_text_name, *eval_text_digest;
    const char *const *include, *const *exclude; /* globs as given */
    size_t include_count, exclude_count;
    bool has_layers;
    uint32_t first_layer, last_layer;

    const struct phy_report_tensor *tensors;
    size_t tensor_count;
    const struct phy_report_shard *shards;
    size_t shard_count;
    const struct phy_report_stage *stages;
    size_t stage_count;
    const struct phy_report_device *devices;
    size_t device_count;
    const char *const *warnings;
    size_t warning_count;
    struct phy_report_tile tile;
    double seconds;
    uint32_t resumed_count;       /* times the run was resumed */
    uint64_t tiles_redone_on_cpu; /* after a device was lost */
    uint64_t peak_rss_bytes;
};

/* Write surgery.json, surgery.md, surgery.html, coverage.json and tensors.jsonl into the directory that dir_fd is open
 * on, each fsynced. Counts are checked against the shapes first: impossible ones (rows * cols is not elements, more
 * killed than processed) are PHY_ERR_INTERNAL. Where processed is not elements, coverage.json says
 * "denominator_correct": false, and then it is PHY_ERR_INTERNAL too. Two records that differ in times, devices and
 * memory only give files that differ in those fields only.
 *   PHY_ERR_IO, PHY_ERR_MEMORY */
enum phy_status phy_report_write_surgery(int dir_fd, const struct phy_surgery_record *record,
                                         const struct phy_host *host);
/* Whether it is the name of one of these files. */
bool phy_report_is_of_surgery(const char *name);

#endif
