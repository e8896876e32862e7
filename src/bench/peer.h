/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PHY_BENCH_PEER_H
#define PHY_BENCH_PEER_H

#include "physarium/host.h"

struct cJSON;

/* Give the document's results ratio_to_peer, our speed over the peer's, from a table of its times: lines of columns
 * with tabs between, "op format shape rows cold threads median_us q1 q3", or named by a first line, which may also name
 * "device". Rows of the CPU's results are joined, unless a device is named. PHY_ERR_IO, PHY_ERR_FORMAT, PHY_ERR_MEMORY.
 */
enum phy_status phy_bench_join_peer(struct cJSON *document, const char *path, const struct phy_host *host);

#endif
