/* SPDX-License-Identifier: Apache-2.0 */
/* What is said of a handful of timings. Medians, not means: a busy moment of the machine only ever adds. */
#ifndef PHY_BENCH_STATS_H
#define PHY_BENCH_STATS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct phy_bench_summary {
    double best, q1, median, q3;
    size_t count;
};

/* Quartiles between the samples around them, linearly ("type 7"). Sorts the samples. count >= 1. */
void phy_bench_summarise(double *samples, size_t count, struct phy_bench_summary *out);

struct phy_bench_ratio {
    double low, ratio, high; /* of median(b) to median(a) */
};

enum { PHY_BENCH_RESAMPLES = 2000 };
/* The middle 95% of the ratios of medians of PHY_BENCH_RESAMPLES resamples of both: the same for the same samples and
 * seed on every machine. Counts are >= 1, samples > 0. False when memory runs out. */
bool phy_bench_ratio(const double *a, size_t a_count, const double *b, size_t b_count, uint64_t seed,
                     struct phy_bench_ratio *out);

/* A pseudo-random number and the next state (splitmix64). */
uint64_t phy_bench_random(uint64_t *state);

#endif
