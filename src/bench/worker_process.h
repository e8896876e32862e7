/* SPDX-License-Identifier: Apache-2.0 */
/* A device in a process of its own: what hangs is killed, what crashes crashes alone. */
#ifndef PHY_BENCH_WORKER_PROCESS_H
#define PHY_BENCH_WORKER_PROCESS_H

#include "bench/worker.h"

enum { PHY_BENCH_MESSAGE_BYTES = 1 << 20, PHY_BENCH_FAILURE_BYTES = 400 };

/* Run the job in a child of `worker` (NULL: in this process). Messages go to emit, all but "at", "status" and drafts;
 * a draft that was not settled when the child ended, however it did, goes there as what it is a draft of. On failure
 * `failure` says what happened and while what, for the report, and one line was logged.
 *   PHY_ERR_DEVICE       nothing was heard for timeout_s, or the child died
 *   PHY_ERR_INTERRUPTED  the host asked to stop
 *   and the child's own status */
enum phy_status phy_bench_run_job(const char *const *worker, const struct phy_bench_job *job, double timeout_s,
                                  phy_bench_emit *emit, void *user, const struct phy_host *host,
                                  char failure[PHY_BENCH_FAILURE_BYTES]);

/* What a model or its folder is to blame for, and no device. */
bool phy_bench_is_about_input(const struct phy_bench_job *job, enum phy_status status);

#endif
