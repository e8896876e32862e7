/* SPDX-License-Identifier: Apache-2.0 */
/* Threads that wait for loops to share. */
#ifndef PHY_BASE_POOL_H
#define PHY_BASE_POOL_H

#include <stddef.h>

struct phy_pool;

/* `threads` workers altogether, the caller of phy_pool_run among them; at least 1. NULL when memory or threads run out.
 */
struct phy_pool *phy_pool_create(unsigned threads);
/* Accepts NULL. No loop may be running. */
void phy_pool_destroy(struct phy_pool *pool);
unsigned phy_pool_threads(const struct phy_pool *pool);

/* Call task(user, index, worker) once for every index < count, from all workers; returns when all are done. worker is
 * below phy_pool_threads and no two calls of the same worker overlap. One loop at a time. */
typedef void phy_pool_task(void *user, size_t index, unsigned worker);
void phy_pool_run(struct phy_pool *pool, size_t count, phy_pool_task *task, void *user);

#endif
