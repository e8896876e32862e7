/* SPDX-License-Identifier: Apache-2.0 */
/* Speed of the flow on a Vulkan device, in millions of weights a second: a region from host memory and back, and the
 * shader alone by the device's clock. Median and best after a warm-up.
 *
 *     bench_device [INDEX [SHAPE [MEGAWEIGHTS [THREADS]]]]        a region of MEGAWEIGHTS (4) for each of THREADS (1)
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "bench/stats.h"
#include "vk/vk_backend.h"

enum { ROUNDS = 5, COLS = 2048, BLOCK = 256, MAX_THREADS = 8 };

struct worker {
    pthread_t thread;
    struct phy_backend *backend;
    uint32_t slot;
    uint64_t rows;
    uint16_t *codes; /* (rows, COLS) bf16 */
    struct phy_flow_tile_result *tiles;
    enum phy_status status;
};

static double seconds_of(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Sums of four uniform numbers: like a trained tile's distribution, and the same everywhere. */
static void fill(uint16_t *codes, uint64_t count)
{
    uint32_t x = 1;
    for (uint64_t i = 0; i < count; i++) {
        float sum = 0;
        for (int k = 0; k < 4; k++) {
            x = x * 1664525u + 1013904223u;
            sum += (float)(x >> 8) * 0x1p-24f - 0.5f;
        }
        union {
            float f;
            uint32_t u;
        } bits = {.f = sum * 0.05f};
        codes[i] = (uint16_t)(bits.u >> 16);
    }
}

static void *work(void *user)
{
    struct worker *w = user;
    const struct phy_flow_params params = {.gain = 5.0f, .beta = 2, .iterations = 30, .block = BLOCK};
    struct phy_flow_region region = {
        .codes = w->codes, .type = PHY_FLOAT_BF16, .rows = w->rows, .cols = COLS, .apply = true, .tiles = w->tiles};
    w->status = phy_backend_flow(w->backend, w->slot, &params, &region);
    return NULL;
}

/* Seconds for all workers' regions; and of the processor, which is what a driver in software takes on a busy machine.
 */
static double round_of(struct worker *workers, uint32_t threads, double *cpu_seconds)
{
    for (uint32_t i = 0; i < threads; i++)
        fill(workers[i].codes, workers[i].rows * COLS);
    double start = phy_seconds_now(), cpu_start = seconds_of(CLOCK_PROCESS_CPUTIME_ID);
    for (uint32_t i = 0; i < threads; i++)
        pthread_create(&workers[i].thread, NULL, work, &workers[i]);
    for (uint32_t i = 0; i < threads; i++)
        pthread_join(workers[i].thread, NULL);
    *cpu_seconds = seconds_of(CLOCK_PROCESS_CPUTIME_ID) - cpu_start;
    return phy_seconds_now() - start;
}

static void print_line(void *user, enum phy_log_level level, const char *line)
{
    (void)user;
    (void)level;
    fprintf(stderr, "%s\n", line);
}

int main(int argc, char **argv)
{
    const struct phy_host host = {.log = print_line};
    uint32_t index = argc > 1 ? (uint32_t)atoi(argv[1]) : 0, threads = argc > 4 ? (uint32_t)atoi(argv[4]) : 1;
    struct phy_vk_options options = {.shape = argc > 2 && argv[2][0] ? argv[2] : NULL};
    uint64_t rows = (argc > 3 ? (uint64_t)atoi(argv[3]) : 4) * 1000000 / COLS / BLOCK * BLOCK;
    struct phy_backend *backend;
    double start = phy_seconds_now();
    if (rows == 0 || phy_vk_backend_create(&backend, index, &options, NULL, &host))
        return 1;
    printf("%s, %s: opened and tested in %.2f s (%.2f s of processor time)\n", backend->name, backend->description,
           phy_seconds_now() - start, seconds_of(CLOCK_PROCESS_CPUTIME_ID));
    threads = threads < 1 ? 1 : threads > backend->slot_count ? backend->slot_count : threads;
    struct worker workers[MAX_THREADS];
    for (uint32_t i = 0; i < threads; i++) {
        workers[i] = (struct worker){.backend = backend, .slot = i, .rows = rows};
        workers[i].codes = phy_alloc(rows * COLS, sizeof *workers[i].codes);
        workers[i].tiles = phy_alloc(rows * COLS / BLOCK / BLOCK, sizeof *workers[i].tiles);
        if (!workers[i].codes || !workers[i].tiles)
            return 1;
    }
    double wall[ROUNDS], device[ROUNDS], cpu[ROUNDS], weights = (double)(rows * COLS * threads) * 1e-6;
    round_of(workers, threads, &cpu[0]);
    for (int i = 0; i < ROUNDS; i++) {
        uint64_t before, after, dispatches;
        phy_vk_backend_device_time(backend, &before, &dispatches);
        wall[i] = round_of(workers, threads, &cpu[i]);
        phy_vk_backend_device_time(backend, &after, &dispatches);
        device[i] = 1e-9 * (double)(after - before);
    }
    struct phy_bench_summary by_wall, by_cpu, by_device;
    phy_bench_summarise(wall, ROUNDS, &by_wall);
    phy_bench_summarise(cpu, ROUNDS, &by_cpu);
    phy_bench_summarise(device, ROUNDS, &by_device);
    printf("%.1f M weights, 30 iterations, %u threads, killed in the last tile %u\n", weights, threads,
           workers[0].tiles[rows * COLS / BLOCK / BLOCK - 1].killed);
    printf("upload, flow, download, apply: median %.1f, best %.1f M weights/s\n", weights / by_wall.median,
           weights / by_wall.best);
    if (by_device.best > 0)
        printf("the shader alone:              median %.1f, best %.1f M weights/s; codes read at %.2f GB/s\n",
               weights / by_device.median, weights / by_device.best, 2e-3 * weights / by_device.median);
    printf("a second of one processor:     median %.1f M weights\n", weights / by_cpu.median);
    for (uint32_t i = 0; i < threads; i++) {
        phy_free(workers[i].codes);
        phy_free(workers[i].tiles);
    }
    phy_backend_destroy(&backend);
    return 0;
}
