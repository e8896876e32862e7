/* SPDX-License-Identifier: Apache-2.0 */
/* The CPU as a model's device: the product kernels, shared among a pool's threads. */
#ifndef PHY_CPU_CPU_MATMUL_H
#define PHY_CPU_CPU_MATMUL_H

#include "backend/matmul_backend.h"
#include "base/pool.h"

/* `form` is "ref", "avx2", "avx512", or NULL for the best. The pool is the caller's and outlives the backend.
 *   PHY_ERR_DEVICE  no such form, or this processor cannot run it
 *   PHY_ERR_MEMORY  host allocation failed */
enum phy_status phy_cpu_matmul_create(struct phy_matmul_backend **out, const char *form, struct phy_pool *pool,
                                      const struct phy_host *host);

#endif
