/* SPDX-License-Identifier: Apache-2.0 */
/* --sparsity: one gain for the whole model, from a sample of its tiles (docs/tile-flow.md, "Hitting a sparsity"). */
#ifndef PHY_SURGERY_GAIN_SEARCH_H
#define PHY_SURGERY_GAIN_SEARCH_H

#include "device/device_set.h"
#include "surgery/calibration.h"

struct phy_gain_search_params {
    const struct phy_checkpoint *donor;
    const struct phy_target_list *targets;
    const struct phy_calibration *calibration; /* or NULL */
    struct phy_flow_params flow;               /* its gain is not used */
    double sparsity;                           /* 0 < sparsity < 1 */
    uint64_t memory_bytes;                     /* for the sample; what does not fit is read again for every gain */
    const struct phy_device_set *devices;
    const struct phy_host *host;
};

struct phy_gain_found {
    float gain;
    uint64_t killed, weights; /* of the sample */
};

/* The largest of 640 gains whose killed share of the sample is at least the sparsity. The same on every device.
 *   PHY_ERR_USAGE        no gain reaches it: the log states the range
 *   PHY_ERR_FORMAT       a weight of the sample is not finite or too large
 *   PHY_ERR_DEVICE, PHY_ERR_MEMORY, PHY_ERR_IO, PHY_ERR_INTERRUPTED (no line is logged) */
enum phy_status phy_gain_search(struct phy_gain_found *out, const struct phy_gain_search_params *params);

#endif
