/* SPDX-License-Identifier: Apache-2.0 */
#include "bench/harness.h"

#include <time.h>

#include "base/clock.h"
#include "base/log.h"

enum { FEWEST_ROUNDS = 3, MOST_REPEATS = 100000 };

static double process_seconds(void)
{
    struct timespec t;
    return clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t) ? 0 : (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Seconds of one run by its clock. */
static double run_once(struct phy_bench_case *c, double *elapsed)
{
    if (c->prepare)
        c->prepare(c->user);
    double start = phy_seconds_now();
    c->status = c->run(c->user, c->turn++);
    *elapsed = phy_seconds_now() - start;
    return c->device_ns ? 1e-9 * c->device_ns(c->user) : *elapsed;
}

/* At least two runs: the first also compiles pipelines and touches pages. */
static void warm_up(struct phy_bench_case *c, double budget_s)
{
    double spent = 0;
    for (int i = 0; i < 64 && c->status == PHY_OK; i++) {
        double elapsed;
        c->estimate = run_once(c, &elapsed);
        spent += elapsed;
        if (spent > budget_s || (i >= 1 && spent > 0.02))
            return;
    }
}

/* The clock is read around each run where something has to be prepared or the device's clock counts, and around all of
 * them otherwise: reading it takes 20 to 50 ns. */
static void sample(struct phy_bench_case *c, double sample_s)
{
    uint64_t repeats = c->estimate > 0 ? (uint64_t)(sample_s / c->estimate) : 1;
    repeats = repeats < 1 ? 1 : repeats > MOST_REPEATS ? MOST_REPEATS : repeats;
    double seconds = 0, elapsed = 0, host = 0, wall = phy_seconds_now(), cpu = process_seconds();
    if (c->device_ns || c->prepare) {
        for (uint64_t i = 0; i < repeats && c->status == PHY_OK; i++) {
            seconds += run_once(c, &elapsed);
            host += elapsed;
        }
    } else {
        for (uint64_t i = 0; i < repeats && c->status == PHY_OK; i++)
            c->status = c->run(c->user, c->turn++);
        seconds = phy_seconds_now() - wall;
    }
    cpu = process_seconds() - cpu;
    wall = phy_seconds_now() - wall;
    if (c->status || seconds <= 0)
        return;
    c->cpu_share += wall > 0 ? cpu / wall : 0;
    c->host_samples[c->count] = host / (double)repeats;
    c->samples[c->count++] = seconds / (double)repeats;
}

enum phy_status phy_bench_measure(struct phy_bench_case *cases, size_t count, const struct phy_bench_plan *plan)
{
    size_t rounds = plan->rounds && plan->rounds < PHY_BENCH_MAX_ROUNDS ? plan->rounds : PHY_BENCH_MAX_ROUNDS;
    double start = phy_seconds_now();
    for (size_t i = 0; i < count; i++) {
        warm_up(&cases[i], plan->budget_s / (double)(2 * count));
        if (plan->beat)
            plan->beat(plan->beat_user);
        if (phy_cancelled(plan->host))
            return PHY_ERR_INTERRUPTED;
    }
    for (size_t round = 0; round < rounds; round++) {
        double spent = phy_seconds_now() - start;
        /* Beyond the budget a few rounds are taken if they are short, and one in any case. */
        if (round && (spent > 2 * plan->budget_s || (spent > plan->budget_s && round >= FEWEST_ROUNDS)))
            break;
        for (size_t i = 0; i < count; i++) {
            if (cases[i].status == PHY_OK)
                sample(&cases[i], plan->sample_s);
            if (plan->beat)
                plan->beat(plan->beat_user);
            if (phy_cancelled(plan->host))
                return PHY_ERR_INTERRUPTED;
        }
    }
    for (size_t i = 0; i < count; i++)
        cases[i].cpu_share /= cases[i].count ? (double)cases[i].count : 1;
    return PHY_OK;
}
