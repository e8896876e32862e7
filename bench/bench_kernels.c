/* SPDX-License-Identifier: Apache-2.0 */
/* How fast each form of the tile flow is: every entry of the variants table on the same tiles, in turns, so that a busy
 * moment of the machine falls on all of them. Prints the median and the best of the rounds after a warm-up. */
#define _GNU_SOURCE
#include <getopt.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/cpu_features.h"
#include "bench/stats.h"
#include "kernels/flow_tile.h"

enum { MAX_FORMS = 8, MAX_ROUNDS = 101, MAX_THREADS = 256, REF_SHARE = 16, CELLS = 256 * 256 };

static struct {
    struct phy_flow_params params;
    uint32_t tiles; /* of one thread */
    uint32_t rounds;
    uint32_t threads;
    bool json;
} options = {
    .params = {.gain = 5.0f, .beta = 2, .iterations = 30, .block = 256},
    .tiles = 64, /* 8 MiB of codes: more than a core's second-level cache */
    .rounds = 9,
};

struct worker {
    const uint16_t *donor; /* (tiles, 256, 256) bf16 */
    uint16_t *codes;
    void *scratch;
    const struct phy_flow_variant *variant;
    uint32_t tiles; /* to run this time */
    uint64_t killed;
    pthread_barrier_t *start;
};

/* Cycles of this core in a second: a chain of dependent additions does one in a cycle. Best of a few, as turbo comes
 * and goes. */
static double clock_hz(void)
{
    double best = 0;
    for (int attempt = 0; attempt < 8; attempt++) {
        uint64_t x = 1, step = (uint64_t)attempt;
        double start = phy_seconds_now();
        for (uint32_t i = 0; i < 1000000; i++) {
            __asm__ volatile("add %1, %0\n\tadd %1, %0\n\tadd %1, %0\n\tadd %1, %0\n\t"
                             "add %1, %0\n\tadd %1, %0\n\tadd %1, %0\n\tadd %1, %0"
                             : "+r"(x)
                             : "r"(step));
        }
        double hz = 8e6 / (phy_seconds_now() - start);
        best = hz > best ? hz : best;
    }
    return best;
}

/* bf16 codes near a normal distribution of 1/64, as weights of a layer are. */
static void fill_codes(uint16_t *codes, size_t count, uint64_t seed)
{
    for (size_t i = 0; i < count; i++) {
        int32_t sum = -8 * 32768;
        for (int n = 0; n < 2; n++) {
            seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
            uint64_t h = (seed ^ seed >> 33) * UINT64_C(0xFF51AFD7ED558CCD);
            sum +=
                (int32_t)(h & 0xFFFF) + (int32_t)(h >> 16 & 0xFFFF) + (int32_t)(h >> 32 & 0xFFFF) + (int32_t)(h >> 48);
        }
        float w = (float)sum * 0x1p-22f;
        uint32_t bits;
        memcpy(&bits, &w, sizeof bits);
        codes[i] = (uint16_t)(bits >> 16);
    }
}

static void run_tiles(struct worker *w)
{
    for (uint32_t t = 0; t < w->tiles; t++) {
        struct phy_flow_tile tile = {
            .codes = w->codes + (size_t)t * CELLS,
            .row_stride = 256,
            .type = PHY_FLOAT_BF16,
            .rows = 256,
            .cols = 256,
            .apply = true,
        };
        struct phy_flow_tile_result result;
        w->variant->run(&tile, &options.params, w->scratch, &result);
        w->killed += result.killed;
    }
}

static void *run_worker(void *argument)
{
    struct worker *w = argument;
    pthread_barrier_wait(w->start);
    run_tiles(w);
    pthread_barrier_wait(w->start);
    return NULL;
}

/* Seconds that `threads` workers take for their tiles. */
static double run_threads(struct worker *workers, uint32_t threads)
{
    pthread_t handles[MAX_THREADS];
    pthread_barrier_t start;
    pthread_barrier_init(&start, NULL, threads + 1);
    for (uint32_t i = 0; i < threads; i++) {
        workers[i].start = &start;
        if (pthread_create(&handles[i], NULL, run_worker, &workers[i])) {
            fprintf(stderr, "bench_kernels: cannot start a thread\n");
            exit(1);
        }
    }
    pthread_barrier_wait(&start);
    double begin = phy_seconds_now();
    pthread_barrier_wait(&start);
    double seconds = phy_seconds_now() - begin;
    for (uint32_t i = 0; i < threads; i++)
        pthread_join(handles[i], NULL);
    pthread_barrier_destroy(&start);
    return seconds;
}

/* Weights a second of one pass over fresh codes. */
static double one_pass(struct worker *workers, uint32_t threads, const struct phy_flow_variant *variant)
{
    uint32_t tiles = strcmp(variant->name, "ref") == 0 ? (options.tiles + REF_SHARE - 1) / REF_SHARE : options.tiles;
    for (uint32_t i = 0; i < threads; i++) {
        workers[i].variant = variant;
        workers[i].tiles = tiles;
        workers[i].killed = 0;
        memcpy(workers[i].codes, workers[i].donor, (size_t)tiles * CELLS * sizeof(uint16_t));
    }
    double seconds;
    if (threads == 1) {
        double begin = phy_seconds_now();
        run_tiles(&workers[0]);
        seconds = phy_seconds_now() - begin;
    } else {
        seconds = run_threads(workers, threads);
    }
    return (double)threads * tiles * CELLS / seconds;
}

struct series {
    double rates[MAX_ROUNDS]; /* weights a second; sorted when done */
    struct phy_bench_summary summary;
};

static void measure(struct worker *workers, uint32_t threads, const struct phy_flow_variant *const *forms, size_t count,
                    struct series *out)
{
    for (uint32_t round = 0; round <= options.rounds; round++) { /* round 0 warms up */
        for (size_t f = 0; f < count; f++) {
            double rate = one_pass(workers, threads, forms[f]);
            if (round)
                out[f].rates[round - 1] = rate;
        }
    }
    for (size_t f = 0; f < count; f++)
        phy_bench_summarise(out[f].rates, options.rounds, &out[f].summary);
}

static void print_series(const struct phy_flow_variant *const *forms, const struct series *series, size_t count,
                         uint32_t threads, double hz)
{
    for (size_t f = 0; f < count; f++) {
        double median = series[f].summary.median, best = series[f].rates[options.rounds - 1];
        double base = series[0].summary.median;
        /* Of one core, for 16 weights and one iteration, all of the tile's work spread over its iterations. */
        double cycles = hz * threads * 16 / (best * options.params.iterations);
        if (options.json)
            printf("{\"kernel\": \"flow_tile\", \"form\": \"%s\", \"threads\": %u, \"median_weights_s\": %.0f, "
                   "\"best_weights_s\": %.0f, \"cycles_per_16_weights\": %.2f, \"clock_hz\": %.0f, \"gain\": %g, "
                   "\"beta\": %u, \"iterations\": %u, \"tiles\": %u, \"rounds\": %u}\n",
                   forms[f]->name, threads, median, best, cycles, hz, (double)options.params.gain, options.params.beta,
                   options.params.iterations, options.tiles, options.rounds);
        else
            printf("%-8s %7u %12.1f %12.1f %12.2f %10.1fx\n", forms[f]->name, threads, median / 1e6, best / 1e6, cycles,
                   median / base);
    }
}

static struct worker *workers_create(uint32_t threads)
{
    struct worker *workers = phy_zalloc(threads, sizeof *workers);
    for (uint32_t i = 0; workers && i < threads; i++) {
        uint16_t *donor = phy_alloc_aligned((size_t)options.tiles * CELLS * sizeof *donor);
        workers[i].codes = phy_alloc_aligned((size_t)options.tiles * CELLS * sizeof *workers[i].codes);
        workers[i].scratch = phy_alloc_aligned(PHY_FLOW_SCRATCH_BYTES);
        if (!donor || !workers[i].codes || !workers[i].scratch)
            return NULL;
        fill_codes(donor, (size_t)options.tiles * CELLS, i + 1);
        workers[i].donor = donor;
    }
    return workers;
}

static bool parse(int argc, char **argv)
{
    static const struct option names[] = {
        {"json", no_argument, NULL, 'j'},
        {"rounds", required_argument, NULL, 'r'},
        {"tiles", required_argument, NULL, 't'},
        {"threads", required_argument, NULL, 'n'},
        {"beta", required_argument, NULL, 'b'},
        {"iterations", required_argument, NULL, 'i'},
        {0},
    };
    options.threads = phy_cpu_count();
    int option;
    while ((option = getopt_long(argc, argv, "", names, NULL)) != -1) {
        uint32_t value = optarg ? (uint32_t)strtoul(optarg, NULL, 10) : 1;
        if (option == '?' || value == 0)
            return false;
        if (option == 'j')
            options.json = true;
        else
            *(option == 'r'   ? &options.rounds
              : option == 't' ? &options.tiles
              : option == 'n' ? &options.threads
              : option == 'b' ? &options.params.beta
                              : &options.params.iterations) = value;
    }
    return optind == argc && options.rounds <= MAX_ROUNDS && options.threads <= MAX_THREADS &&
           options.params.beta <= 4 && options.params.iterations <= 1000 && options.tiles <= 4096;
}

int main(int argc, char **argv)
{
    if (!parse(argc, argv)) {
        fprintf(stderr,
                "usage: bench_kernels [--json] [--rounds N] [--tiles N] [--threads N] [--beta N] [--iterations N]\n");
        return 2;
    }
    struct worker *workers = workers_create(options.threads);
    if (!workers) {
        fprintf(stderr, "bench_kernels: out of memory\n");
        return 6;
    }
    struct phy_cpu_features have = phy_cpu_detect();
    const struct phy_flow_variant *forms[MAX_FORMS];
    size_t count = 0;
    for (const struct phy_flow_variant *v = phy_flow_variants; v->name && count < MAX_FORMS; v++) {
        if (phy_cpu_meets(&have, &v->needs))
            forms[count++] = v;
    }
    double hz = clock_hz();
    if (!options.json) {
        printf("%s, %.2f GHz measured\nflow of 256x256 bf16 tiles, beta %u, %u iterations, %u tiles a thread, %u "
               "rounds\n\n",
               phy_cpu_model(), hz / 1e9, options.params.beta, options.params.iterations, options.tiles,
               options.rounds);
        printf("%-8s %7s %12s %12s %12s %11s\n", "form", "threads", "median M/s", "best M/s", "cycles/16", "to ref");
    }
    static struct series series[MAX_FORMS];
    measure(workers, 1, forms, count, series);
    print_series(forms, series, count, 1, hz);
    if (options.threads > 1) {
        measure(workers, options.threads, forms, count, series);
        print_series(forms, series, count, options.threads, hz);
    }
    return 0;
}
