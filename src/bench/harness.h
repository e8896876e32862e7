/* SPDX-License-Identifier: Apache-2.0 */
/* One harness for everything that is timed: warm-up, then rounds in which every case has its turn, so that a busy
 * moment of the machine falls on all of them. */
#ifndef PHY_BENCH_HARNESS_H
#define PHY_BENCH_HARNESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bench/stats.h"
#include "physarium/host.h"

enum { PHY_BENCH_MAX_ROUNDS = 64, PHY_BENCH_WHY_BYTES = 160 };

/* One thing to time. */
struct phy_bench_case {
    void *user;
    /* Do it once; `turn` grows with every call, so that cold cases take another copy of their data each time. */
    enum phy_status (*run)(void *user, uint64_t turn);
    /* Nanoseconds of the device's own clock that the last run took, in place of the host's; NULL: the host's clock. Set
     * to NULL when the runs of the warm-up took none: then the device has no clock. */
    double (*device_ns)(void *user);
    /* Between runs, not timed; or NULL. */
    void (*prepare)(void *user);
    double expected_s; /* of a run, by what is known before the first; 0: nothing is */
    /* Filled in: */
    double samples[PHY_BENCH_MAX_ROUNDS];      /* seconds of one run, in the order of the rounds */
    double host_samples[PHY_BENCH_MAX_ROUNDS]; /* the same by the host's clock, where the device's counts */
    size_t count;
    double cpu_share;       /* processor seconds of this process for a second of the clock */
    enum phy_status status; /* of the first run that failed; the others of the group go on */
    uint64_t turn;
    double estimate;               /* seconds of a run by its clock, after the warm-up */
    double elapsed_s;              /* the same by the host's, what prepares it included; 0: it never ran */
    char why[PHY_BENCH_WHY_BYTES]; /* it was left out; empty: it was not */
    bool chosen, met;              /* it has its turn in the rounds; that is decided */
    bool first_run_only;           /* its one sample is its first run, by the device's clock */
};

struct phy_bench_plan {
    double budget_s; /* for the whole group */
    /* What does not fit the budget, two runs of it, is left out and says why; what does has fewer rounds where not all
     * fit. By a device's clock, which does not count the compiling of pipelines, a first run alone is a sample, too.
     * Otherwise every case has a round, whatever it takes. */
    bool may_leave_out;
    bool one_at_least; /* of those that may be left out the one that is first expected to end is not */
    double longest_s;  /* a run that would take longer is left out; 0: none would */
    size_t rounds;     /* at most; 0: PHY_BENCH_MAX_ROUNDS */
    double sample_s;   /* runs are repeated until a sample is as long as this */
    const struct phy_host *host;
    void (*beat)(void *user); /* called between runs, so that who waits knows that there is life; or NULL */
    void *beat_user;
};

/* Times `count` cases. PHY_ERR_INTERRUPTED when the host asks to stop; a case that fails says so in its status. */
enum phy_status phy_bench_measure(struct phy_bench_case *cases, size_t count, const struct phy_bench_plan *plan);

#endif
