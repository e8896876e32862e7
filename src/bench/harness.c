/* SPDX-License-Identifier: Apache-2.0 */
#include "bench/harness.h"

#include <stdio.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"

enum { FEWEST_ROUNDS = 3, MOST_REPEATS = 100000 };

/* Seconds that a case may have whatever the budget: where runs are short, nothing is left out for a few of them. */
#define LEAST_SHARE_S 0.05

static double process_seconds(void)
{
    struct timespec t;
    return clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t) ? 0 : (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Seconds of one run by its clock; *elapsed: by the host's. */
static double run_once(struct phy_bench_case *c, double *elapsed)
{
    double begin = phy_seconds_now();
    if (c->prepare)
        c->prepare(c->user);
    double start = phy_seconds_now();
    c->status = c->run(c->user, c->turn++);
    double end = phy_seconds_now();
    *elapsed = end - start;
    c->elapsed_s = end - begin;
    return c->device_ns ? 1e-9 * c->device_ns(c->user) : *elapsed;
}

/* At least two runs, if they fit: the first also compiles pipelines and touches pages. One that was far slower than
 * expected is thought to have done so, and has another run while that fits most_s. */
static void warm_up(struct phy_bench_case *c, double budget_s, double most_s)
{
    double spent = 0, by_device = 0;
    for (int i = 0; i < 64 && c->status == PHY_OK; i++) {
        double elapsed;
        c->estimate = run_once(c, &elapsed);
        by_device += c->device_ns ? c->estimate : 0;
        spent += elapsed;
        const bool compiled = i == 0 && spent > 3 * c->expected_s && 3 * spent < most_s;
        if ((spent > budget_s && !compiled) || (i >= 1 && spent > 0.02))
            break;
    }
    if (c->device_ns && by_device <= 0) {
        c->device_ns = NULL;
        c->estimate = c->elapsed_s;
    }
}

/* Runs of a sample. */
static uint64_t repeats_of(const struct phy_bench_case *c, double sample_s)
{
    const double repeats = c->estimate > 0 ? sample_s / c->estimate : 1;
    return repeats < 1 ? 1 : repeats > MOST_REPEATS ? MOST_REPEATS : (uint64_t)repeats;
}

/* The clock is read around each run where something has to be prepared or the device's clock counts, and around all of
 * them otherwise: reading it takes 20 to 50 ns. */
static void sample(struct phy_bench_case *c, double sample_s)
{
    const uint64_t repeats = repeats_of(c, sample_s);
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

/* ---- what fits the budget ---- */

static void put_seconds(char out[24], double seconds)
{
    if (seconds < 0.1)
        snprintf(out, 24, "%.2g ms", seconds * 1e3);
    else
        snprintf(out, 24, "%.1f s", seconds);
}

struct group {
    struct phy_bench_case *cases;
    size_t count, chosen;
    const struct phy_bench_plan *plan;
    double start, budget_s;
    double reserved_s; /* a round of each case that was chosen */
    bool clocked;      /* a case that ran had the device's clock */
};

static double left_of(const struct group *g)
{
    return g->budget_s - (phy_seconds_now() - g->start);
}

/* What is expected to end first comes first, so that the budget is enough for as many as may be. */
static struct phy_bench_case *next_to_meet(const struct group *g)
{
    struct phy_bench_case *next = NULL;
    for (size_t i = 0; i < g->count; i++) {
        struct phy_bench_case *c = &g->cases[i];
        if (!c->met && (!next || (g->plan->may_leave_out && c->expected_s < next->expected_s)))
            next = c;
    }
    return next;
}

/* Before its first run: it, and a round where the host's clock counts, must fit beside the rounds of those that were
 * chosen. */
static bool worth_a_run(const struct group *g, struct phy_bench_case *c)
{
    const double left = left_of(g) - g->reserved_s, longest = g->plan->longest_s;
    const double needed = (g->clocked ? 1 : 2) * c->expected_s;
    char one[24], rest[24];
    put_seconds(one, c->expected_s);
    if (longest > 0 && c->expected_s > longest) {
        put_seconds(rest, longest);
        snprintf(c->why, sizeof c->why, "not run: a run would take about %s, and nothing may take longer than %s", one,
                 rest);
        return false;
    }
    if (!g->plan->may_leave_out || (g->plan->one_at_least && !g->chosen) || (left > 0 && needed <= left))
        return true;
    if (left <= 0 || c->expected_s <= 0) {
        put_seconds(rest, g->budget_s);
        snprintf(c->why, sizeof c->why, "not run: others of its group need its share of the budget, %s", rest);
    } else {
        put_seconds(rest, left);
        snprintf(c->why, sizeof c->why,
                 "not run: a run would take about %s, and %s of its share of the budget are left", one, rest);
    }
    return false;
}

/* After its first run, which may have taken longer than was expected. */
static bool worth_a_round(const struct group *g, struct phy_bench_case *c)
{
    const double left = left_of(g) - g->reserved_s;
    if (!g->plan->may_leave_out || (g->plan->one_at_least && !g->chosen) || c->elapsed_s <= left)
        return true;
    if (c->device_ns) {
        c->host_samples[0] = c->elapsed_s;
        c->samples[c->count++] = c->estimate;
        c->first_run_only = true;
        return false;
    }
    char one[24], rest[24];
    put_seconds(one, c->elapsed_s);
    put_seconds(rest, left > 0 ? left : 0);
    snprintf(c->why, sizeof c->why, "run once, in %s: of its share of the budget %s are left, too little for a round",
             one, rest);
    return false;
}

static void beat(const struct group *g)
{
    if (g->plan->beat)
        g->plan->beat(g->plan->beat_user);
}

static enum phy_status choose(struct group *g)
{
    struct phy_bench_case *c;
    while ((c = next_to_meet(g))) {
        c->met = true;
        if (c->status || !worth_a_run(g, c))
            continue;
        warm_up(c, g->budget_s / (double)(2 * g->count), left_of(g) - g->reserved_s);
        g->clocked = g->clocked || c->device_ns;
        if (c->status == PHY_OK && worth_a_round(g, c)) {
            c->chosen = true;
            g->chosen++;
            g->reserved_s += c->elapsed_s;
        }
        beat(g);
        if (phy_cancelled(g->plan->host))
            return PHY_ERR_INTERRUPTED;
    }
    return PHY_OK;
}

/* Whether a case has its turn in a round. The first is everyone's who was chosen. */
static bool has_turn(const struct group *g, const struct phy_bench_case *c, size_t round)
{
    const double left = left_of(g);
    if (!c->chosen || c->status)
        return false;
    if (round == 0)
        return true;
    if (g->plan->may_leave_out)
        return c->elapsed_s * (double)repeats_of(c, g->plan->sample_s) <= left;
    /* Beyond the budget a few rounds are taken if they are short. */
    return left > 0 || (left > -g->budget_s && round < FEWEST_ROUNDS);
}

enum phy_status phy_bench_measure(struct phy_bench_case *cases, size_t count, const struct phy_bench_plan *plan)
{
    const size_t rounds = plan->rounds && plan->rounds < PHY_BENCH_MAX_ROUNDS ? plan->rounds : PHY_BENCH_MAX_ROUNDS;
    struct group g = {
        .cases = cases, .count = count, .plan = plan, .start = phy_seconds_now(), .budget_s = plan->budget_s};
    if (plan->may_leave_out && g.budget_s < LEAST_SHARE_S * (double)count)
        g.budget_s = LEAST_SHARE_S * (double)count;
    enum phy_status status = choose(&g);
    bool any = g.chosen > 0;
    for (size_t round = 0; round < rounds && any && status == PHY_OK; round++) {
        any = false;
        for (size_t i = 0; i < count && status == PHY_OK; i++) {
            if (!has_turn(&g, &cases[i], round))
                continue;
            any = true;
            sample(&cases[i], plan->sample_s);
            beat(&g);
            status = phy_cancelled(plan->host) ? PHY_ERR_INTERRUPTED : PHY_OK;
        }
    }
    for (size_t i = 0; i < count; i++)
        cases[i].cpu_share /= cases[i].count ? (double)cases[i].count : 1;
    return status;
}
