/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PHYSARIUM_HOST_H
#define PHYSARIUM_HOST_H

#include <stdbool.h>
#include <stdint.h>

#include "status.h"

#ifdef __cplusplus
extern "C" {
#endif

enum phy_log_level {
    PHY_LOG_ERROR,   /* the reason for the status that the call is about to return; one line for each failed call */
    PHY_LOG_WARNING, /* worth knowing; does not change the status */
    PHY_LOG_NOTE,    /* what is going on */
};

/* How far a long operation is. `unit` is "bytes", "weights", "tensors" or "gains"; total 0 means unknown. */
struct phy_progress {
    const char *stage; /* "surgery", "import" ... valid during the call only */
    const char *unit;
    uint64_t done, total;
};

/* What the library asks of the program that embeds it. Any member may be NULL; a NULL host is silent and never stops.
 * The struct and its user data must outlive the call (or the object) that they were given to.
 *
 * Thread-safety: `log` and `cancelled` may be called from any thread of the operation, `progress` from one thread at a
 * time. None of them may call back into the library on the object that is at work. */
struct phy_host {
    void *user;
    /* `line` is one line of valid UTF-8 without control characters, no newline, at most 1023 bytes. */
    void (*log)(void *user, enum phy_log_level level, const char *line);
    void (*progress)(void *user, const struct phy_progress *progress);
    /* True makes the operation finish its current unit and return PHY_ERR_INTERRUPTED. */
    bool (*cancelled)(void *user);
};

#ifdef __cplusplus
}
#endif
#endif
