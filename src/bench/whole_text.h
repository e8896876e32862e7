/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PHY_BENCH_WHOLE_TEXT_H
#define PHY_BENCH_WHOLE_TEXT_H

#include "physarium/host.h"

/* A file of at most 64 MiB, NUL-terminated; phy_free. PHY_ERR_IO, PHY_ERR_LIMIT, PHY_ERR_MEMORY. */
enum phy_status phy_bench_read_text(char **out, const char *path, const struct phy_host *host);

#endif
