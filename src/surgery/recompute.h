/* SPDX-License-Identifier: Apache-2.0 */
/* The flow, or a ranking, again, from the donor, held against the output's bytes. */
#ifndef PHY_SURGERY_RECOMPUTE_H
#define PHY_SURGERY_RECOMPUTE_H

#include "device/device_set.h"
#include "surgery/calibration.h"
#include "surgery/coverage_compare.h"
#include "surgery/rank_method.h"

struct phy_recompute_params {
    const struct phy_comparison *comparison; /* has been run */
    const struct phy_target_list *targets;
    const struct phy_calibration *calibration; /* or NULL */
    struct phy_flow_params flow;
    const struct phy_rank_method *rank; /* in place of the flow; or NULL */
    const struct phy_device_set *devices;
    const struct phy_host *host;
};

struct phy_recompute_result {
    uint64_t weights;     /* done again */
    uint64_t differences; /* codes that came out otherwise */
    /* The first of them in data order. */
    size_t target; /* index in the target list */
    uint64_t row, col;
    uint32_t flow_code, output_code;
};

/* Targets that the output does not hold whole are passed over: they are damage already.
 *   PHY_ERR_FORMAT  a donor's weight that the flow refuses
 *   PHY_ERR_IO, PHY_ERR_MEMORY, PHY_ERR_DEVICE, PHY_ERR_INTERRUPTED */
enum phy_status phy_recompute_run(struct phy_recompute_result *out, const struct phy_recompute_params *params);

#endif
