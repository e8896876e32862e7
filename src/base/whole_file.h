/* SPDX-License-Identifier: Apache-2.0 */
/* A small output that is whole or not there. */
#ifndef PHY_BASE_WHOLE_FILE_H
#define PHY_BASE_WHOLE_FILE_H

#include <stdbool.h>

#include "physarium/host.h"

/* Let `fill` write a new file beside `path`, through a descriptor open for reading and writing, and rename it to
 * `path`, in the place of what was there; of a link, in the place of the file that it leads to. On failure nothing is
 * left. What is no regular file, and names in /dev and /proc, are never replaced: they get the bytes when all are
 * there. fill returns 0, an errno value, or the negative of a status whose reason it has logged.
 *   PHY_ERR_IO      the log names path and the reason
 *   PHY_ERR_MEMORY  host allocation failed */
typedef int phy_fill_file(const void *user, int fd);
enum phy_status phy_write_whole_file(const char *path, phy_fill_file *fill, const void *user,
                                     const struct phy_host *host);

/* Before long work: 0, or the errno value of what keeps a small file from being written there now. Nothing is left. */
int phy_try_whole_file(const char *path);

/* Whether it gets the bytes instead of being replaced. */
bool phy_is_written_through(const char *path);

#endif
