/* SPDX-License-Identifier: Apache-2.0 */
/* The CPU as a backend: a table over the kernels. */
#ifndef PHY_CPU_CPU_BACKEND_H
#define PHY_CPU_CPU_BACKEND_H

#include "backend/backend.h"

/* `form` is "ref", "avx2", "avx512", or NULL for the best. `threads` slots, each with its own scratch (0: all
 * processors).
 *   PHY_ERR_DEVICE  no such form, or this processor cannot run it, or it failed phy_flow_self_test
 *   PHY_ERR_MEMORY  host allocation failed */
enum phy_status phy_cpu_backend_create(struct phy_backend **out, const char *form, uint32_t threads,
                                       const struct phy_host *host);

#endif
