/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PHY_BENCH_PEER_H
#define PHY_BENCH_PEER_H

#include "physarium/host.h"

struct cJSON;

/* Give the document's results ratio_to_peer, our speed over the peer's, from a table of its times: lines of columns
 * with tabs between, "op format shape rows cold threads median_us q1 q3", or as a first line names them, which may also
 * name "device". Its ops are ours with our shapes, or mul_mat, mul_mat_repack, mul_mat_gpu with columns x rows: the
 * fastest counts, and an ffn is three of them. PHY_ERR_IO, PHY_ERR_FORMAT, PHY_ERR_MEMORY. */
enum phy_status phy_bench_join_peer(struct cJSON *document, const char *path, const struct phy_host *host);

#endif
