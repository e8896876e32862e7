/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PHY_BASE_CLOCK_H
#define PHY_BASE_CLOCK_H

#include <time.h>

/* Seconds since some moment; never goes back. Any thread. */
static inline double phy_seconds_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

#endif
