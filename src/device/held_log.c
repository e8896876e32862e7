/* SPDX-License-Identifier: Apache-2.0 */
#include "device/held_log.h"

#include <stdio.h>

static void log_line(void *user, enum phy_log_level level, const char *line)
{
    struct phy_held_log *held = user;
    if (held->hold && level == PHY_LOG_ERROR)
        snprintf(held->line, sizeof held->line, "%s", line);
    else if (held->to && held->to->log)
        held->to->log(held->to->user, level, line);
}

static void progress(void *user, const struct phy_progress *progress)
{
    const struct phy_held_log *held = user;
    if (held->to && held->to->progress)
        held->to->progress(held->to->user, progress);
}

static bool cancelled(void *user)
{
    const struct phy_held_log *held = user;
    return phy_cancelled(held->to);
}

void phy_held_log_init(struct phy_held_log *held, const struct phy_host *to, bool hold)
{
    *held = (struct phy_held_log){
        .host = {.user = held, .log = log_line, .progress = progress, .cancelled = cancelled}, .to = to, .hold = hold};
}

enum phy_status phy_held_log_release(struct phy_held_log *held, enum phy_status status)
{
    if (held->line[0] && status != PHY_OK)
        phy_fail(held->to, status, "%s", held->line);
    held->line[0] = 0;
    return status;
}
