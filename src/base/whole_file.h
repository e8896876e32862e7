/* SPDX-License-Identifier: Apache-2.0 */
/* A small output that is whole or not there. */
#ifndef PHY_BASE_WHOLE_FILE_H
#define PHY_BASE_WHOLE_FILE_H

#include "physarium/host.h"

/* Let `fill` write a new file beside `path`, through a descriptor open for reading and writing, and rename it to
 * `path`, in the place of what was there. fill returns 0 or an errno value; on failure nothing is left. PHY_ERR_IO the
 * log names path and the reason PHY_ERR_MEMORY  host allocation failed */
typedef int phy_fill_file(const void *user, int fd);
enum phy_status phy_write_whole_file(const char *path, phy_fill_file *fill, const void *user,
                                     const struct phy_host *host);

#endif
