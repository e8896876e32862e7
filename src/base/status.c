/* SPDX-License-Identifier: Apache-2.0 */
#include "physarium/status.h"

#include <stddef.h>

static const struct {
    const char *name;
    int exit_code;
} table[] = {
    [PHY_OK] = {"ok", 0},
    [PHY_ERR_INTERNAL] = {"internal", 1},
    [PHY_ERR_USAGE] = {"usage", 2},
    [PHY_ERR_IO] = {"io", 3},
    [PHY_ERR_FORMAT] = {"format", 4},
    [PHY_ERR_UNSUPPORTED] = {"unsupported", 5},
    [PHY_ERR_LIMIT] = {"limit", 6},
    [PHY_ERR_MEMORY] = {"memory", 6},
    [PHY_ERR_DEVICE] = {"device", 7},
    [PHY_ERR_MISMATCH] = {"mismatch", 8},
    [PHY_ERR_INTERRUPTED] = {"interrupted", 130},
};

int phy_status_exit_code(enum phy_status status)
{
    size_t index = (size_t)status;
    return index < sizeof table / sizeof *table ? table[index].exit_code : 1;
}

const char *phy_status_name(enum phy_status status)
{
    size_t index = (size_t)status;
    return index < sizeof table / sizeof *table ? table[index].name : "internal";
}
