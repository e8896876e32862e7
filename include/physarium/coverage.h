/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PHYSARIUM_COVERAGE_H
#define PHYSARIUM_COVERAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "host.h"
#include "status.h"
#include "targets.h"

#ifdef __cplusplus
extern "C" {
#endif

/* What the bytes of a donor and an output say about the surgery between them. Zero is "the default" in every member but
 * the paths. */
struct phy_coverage_params {
    const char *donor, *output; /* two directories, or two safetensors files */
    struct phy_target_params
        targets;      /* empty: the options that the output's surgery.json records, else the default names */
    uint32_t threads; /* 0: all processors */
    bool follow_symlinks;

    /* Run the flow again and compare every byte. Parameters that are 0 or NULL: what surgery.json records, else the
     * defaults. */
    bool recompute;
    const char *device; /* as in phy_surgery_params */
    const char *method; /* with "flow" the gain counts, with others sparsity or pattern */
    double gain;
    uint32_t beta, iterations, block;
    double sparsity;
    const char *pattern;
    const char *calibration;
    const struct phy_host *host;
};

enum phy_coverage_source { PHY_COVERAGE_FROM_PARAMS, PHY_COVERAGE_FROM_REPORT, PHY_COVERAGE_FROM_DEFAULTS };
enum phy_coverage_report {
    PHY_COVERAGE_REPORT_ABSENT,
    PHY_COVERAGE_REPORT_AGREES,
    PHY_COVERAGE_REPORT_DIFFERS,
    PHY_COVERAGE_REPORT_UNKNOWN /* of a schema version that we do not know */
};

enum phy_damage_kind {
    PHY_DAMAGE_FILE,      /* a weight file is missing, or of another size */
    PHY_DAMAGE_HEADER,    /* a safetensors header is not the donor's */
    PHY_DAMAGE_TENSOR,    /* bytes that surgery cannot have made */
    PHY_DAMAGE_SIDECAR,   /* a file beside the weights is missing, changed, or not the donor's */
    PHY_DAMAGE_REPORT,    /* a report says something else than the bytes */
    PHY_DAMAGE_RECOMPUTE, /* the flow, run again, gives other bytes */
};

/* One difference. Names are raw: escape before printing; the sentence is escaped. */
struct phy_damage {
    enum phy_damage_kind kind;
    char *file;
    char *tensor; /* or NULL */
    size_t tensor_bytes;
    bool has_position;
    uint64_t row, col; /* of the first damaged element, from 0; a tensor's last dimension is its columns */
    uint64_t count;    /* damaged elements */
    char sentence[1024];
};

struct phy_coverage_line {
    uint64_t tensors, elements;
    uint64_t processed; /* counted while comparing, element by element */
    uint64_t killed;    /* not zero in the donor, +0 in the output */
    uint64_t zero_before;
};

struct phy_coverage_projection {
    char name[64]; /* raw */
    struct phy_coverage_line line;
};

struct phy_coverage_cell {
    uint32_t layer;      /* or PHY_NO_LAYER */
    uint32_t projection; /* index */
    struct phy_coverage_line line;
};

struct phy_coverage_tensor {
    char *name; /* raw, UTF-8 */
    size_t name_bytes;
    uint32_t shard;
    bool target;
    uint64_t elements, processed, killed, zero_before;
    uint64_t damaged; /* elements */
    uint64_t xxh3;    /* of the output's bytes */
};

struct phy_coverage {
    char *donor_name, *output_name; /* last parts of the paths */
    char **shard_names;
    size_t shard_count, sidecar_count;
    enum phy_coverage_source targets_from;
    struct phy_coverage_tensor *tensors; /* all, in data order */
    size_t tensor_count;
    struct phy_coverage_line target; /* all targets */
    uint64_t total_elements, bytes_compared;
    size_t layer_count;
    struct phy_coverage_projection *projections;
    size_t projection_count;
    struct phy_coverage_cell *cells; /* by layer, then projection */
    size_t cell_count;
    bool denominator_correct; /* processed is what the shapes say, for every target */

    enum phy_coverage_report coverage_json, tensors_jsonl;
    bool recomputed, recompute_agrees;
    char recompute_device[256];
    uint64_t recomputed_weights, recompute_differences;

    struct phy_damage *damages; /* the first 1000, in the order of files and data */
    size_t damage_count;
    uint64_t difference_count; /* all of them */
    uint64_t damaged_tensors;
    double seconds, compare_seconds; /* in all; reading and comparing both */
};

/* Compare a donor and an output byte by byte. No report is trusted: what they say is compared with what was found.
 * On PHY_OK and PHY_ERR_MISMATCH *out is the caller's: phy_coverage_free(&coverage); otherwise it is NULL.
 *
 *   PHY_ERR_MISMATCH  damage: the log names file, tensor, row and column of the first, and how much there is
 *   PHY_ERR_USAGE     a directory against a file, parameters out of range
 *   PHY_ERR_IO        an absent or unreadable path, a donor that changed
 *   and what phy_checkpoint_open says of the donor, phy_targets_choose, and for recompute phy_surgery_run of devices
 * Thread-safety: any thread; calls are independent. */
PHY_API enum phy_status phy_coverage_run(struct phy_coverage **out, const struct phy_coverage_params *params);
PHY_API void phy_coverage_free(struct phy_coverage **coverage);

/* The whole result as JSON (docs/reports.md), handed to `put` piece by piece.
 *   PHY_ERR_MEMORY  host allocation failed */
PHY_API enum phy_status phy_coverage_put_result(const struct phy_coverage *coverage,
                                                void (*put)(void *user, const char *text, size_t bytes), void *user);

#ifdef __cplusplus
}
#endif
#endif
