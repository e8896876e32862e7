/* SPDX-License-Identifier: Apache-2.0 */
#include "bench/stats.h"

#include <stdlib.h>

#include "base/alloc.h"

uint64_t phy_bench_random(uint64_t *state)
{
    uint64_t z = *state += UINT64_C(0x9E3779B97F4A7C15);
    z = (z ^ z >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ z >> 27) * UINT64_C(0x94D049BB133111EB);
    return z ^ z >> 31;
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double at_share(const double *sorted, size_t count, double share)
{
    double at = share * (double)(count - 1);
    size_t below = (size_t)at;
    if (below + 1 >= count)
        return sorted[count - 1];
    return sorted[below] + (at - (double)below) * (sorted[below + 1] - sorted[below]);
}

void phy_bench_summarise(double *samples, size_t count, struct phy_bench_summary *out)
{
    qsort(samples, count, sizeof *samples, ascending);
    *out = (struct phy_bench_summary){
        .best = samples[0],
        .q1 = at_share(samples, count, 0.25),
        .median = at_share(samples, count, 0.5),
        .q3 = at_share(samples, count, 0.75),
        .count = count,
    };
}

static double resampled_median(const double *samples, size_t count, double *scratch, uint64_t *state)
{
    for (size_t i = 0; i < count; i++)
        scratch[i] = samples[phy_bench_random(state) % count];
    qsort(scratch, count, sizeof *scratch, ascending);
    return at_share(scratch, count, 0.5);
}

static double median_of(const double *samples, size_t count, double *scratch)
{
    for (size_t i = 0; i < count; i++)
        scratch[i] = samples[i];
    qsort(scratch, count, sizeof *scratch, ascending);
    return at_share(scratch, count, 0.5);
}

bool phy_bench_ratio(const double *a, size_t a_count, const double *b, size_t b_count, uint64_t seed,
                     struct phy_bench_ratio *out)
{
    size_t most = a_count > b_count ? a_count : b_count;
    double *scratch = phy_alloc(most, sizeof *scratch), *ratios = phy_alloc(PHY_BENCH_RESAMPLES, sizeof *ratios);
    bool ok = scratch && ratios;
    if (ok) {
        out->ratio = median_of(b, b_count, scratch) / median_of(a, a_count, scratch);
        for (size_t i = 0; i < PHY_BENCH_RESAMPLES; i++) {
            double before = resampled_median(a, a_count, scratch, &seed);
            ratios[i] = resampled_median(b, b_count, scratch, &seed) / before;
        }
        qsort(ratios, PHY_BENCH_RESAMPLES, sizeof *ratios, ascending);
        out->low = at_share(ratios, PHY_BENCH_RESAMPLES, 0.025);
        out->high = at_share(ratios, PHY_BENCH_RESAMPLES, 0.975);
    }
    phy_free(scratch);
    phy_free(ratios);
    return ok;
}
