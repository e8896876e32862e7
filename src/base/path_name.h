/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PHY_BASE_PATH_NAME_H
#define PHY_BASE_PATH_NAME_H

#include <stddef.h>

/* Length of a path without its trailing slashes; "/" keeps its own. */
size_t phy_path_bytes(const char *path);
/* Last part of a path, trailing slashes ignored: a copy, "" for "/"; NULL without memory. */
char *phy_path_last_part(const char *path);

#endif
