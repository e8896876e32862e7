/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PHY_CLI_INSPECT_STORE_H
#define PHY_CLI_INSPECT_STORE_H

#include <stdbool.h>

#include "physarium/ffn.h"

/* Whether the path is a directory with an index.json and without weights: a store, ours or another tool's. */
bool phy_is_store(const char *path);
/* Check the store and print what is in it. */
enum phy_status phy_inspect_store(const char *path, const struct phy_ffn_store_params *params, bool json);

#endif
