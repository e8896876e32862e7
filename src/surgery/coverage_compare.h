/* SPDX-License-Identifier: Apache-2.0 */
/* Donor and output side by side: every byte of weights, headers and sidecars, in bounded memory. */
#ifndef PHY_SURGERY_COVERAGE_COMPARE_H
#define PHY_SURGERY_COVERAGE_COMPARE_H

#include "physarium/targets.h"
#include "surgery/compare_codes.h"

/* A weight file of the output. */
struct phy_output_shard {
    int fd;    /* -1: missing, or no regular file */
    int error; /* errno of the failed open; 0 where it is not a regular file */
    uint64_t bytes;
    bool same_layout; /* its header is as long as the donor's, so tensors are where the donor's are */
    bool header_differs;
    uint64_t header_at; /* first byte that differs */
    uint64_t header_xxh3;
};

struct phy_tensor_finding {
    const struct phy_target *target; /* or NULL */
    uint64_t elements;
    bool compared;                 /* false: the shard is missing or laid out otherwise */
    bool cut_short;                /* the file ends inside or before it */
    struct phy_code_counts counts; /* of whole elements; killed and zero_before for targets only */
    uint64_t xxh3;
};

enum phy_sidecar_state { PHY_SIDECAR_SAME, PHY_SIDECAR_MISSING, PHY_SIDECAR_OTHER_KIND, PHY_SIDECAR_DIFFERS };

struct phy_sidecar_finding {
    enum phy_sidecar_state state;
    uint64_t at, donor_bytes, output_bytes; /* first byte that differs; sizes */
};

struct phy_comparison {
    const struct phy_checkpoint *donor;
    const char *output_path;
    int output_dir; /* -1 for a single file */
    struct phy_output_shard *shards;
    struct phy_tensor_finding *tensors;
    struct phy_sidecar_finding *sidecars;
    char **extra_files; /* in the output and not in the donor, sorted */
    size_t extra_count, extra_capacity;
    uint64_t bytes_compared;
};

/* Open the output beside an open donor and note what is a target; nothing is compared yet.
 *   PHY_ERR_IO     the output is absent
 *   PHY_ERR_USAGE  a directory against a file */
enum phy_status phy_comparison_open(struct phy_comparison *out, const struct phy_checkpoint *donor,
                                    const char *output_path, const struct phy_target_list *targets,
                                    const struct phy_host *host);
/* Compare everything, on `threads` threads. Differences are findings, not failures.
 *   PHY_ERR_IO, PHY_ERR_MEMORY, PHY_ERR_INTERRUPTED */
enum phy_status phy_comparison_run(struct phy_comparison *comparison, uint32_t threads, const struct phy_host *host);
void phy_comparison_close(struct phy_comparison *comparison);

/* Elements of a checked tensor. */
uint64_t phy_tensor_elements(const struct phy_tensor_info *tensor);
/* Row and column of an element: the last dimension is the columns, all others together the rows. */
void phy_tensor_position(const struct phy_tensor_info *tensor, uint64_t element, uint64_t *row, uint64_t *col);

#endif
