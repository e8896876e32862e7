/* SPDX-License-Identifier: Apache-2.0 */
/* A host for a device that the CPU may stand in for: its errors are held back, to become part of one warning. */
#ifndef PHY_DEVICE_HELD_LOG_H
#define PHY_DEVICE_HELD_LOG_H

#include "base/log.h"

struct phy_held_log {
    struct phy_host host; /* what the device is given */
    const struct phy_host *to;
    bool hold;
    char line[PHY_LOG_LINE_BYTES]; /* the last error */
};

/* hold false: everything goes through. `held` must not move afterwards. */
void phy_held_log_init(struct phy_held_log *held, const struct phy_host *to, bool hold);
/* The error, if there was one, is the call's after all: log it. PHY_OK: forget it. Returns `status`. */
enum phy_status phy_held_log_release(struct phy_held_log *held, enum phy_status status);

#endif
