/* SPDX-License-Identifier: Apache-2.0 */
/* Speed of the CPU's feed-forward kernels, through the backend that a model uses: the product of one matrix, a whole
 * layer, and the walk; cold (copies that take turns, together beyond the caches) and warm; each with the bytes of
 * weights that it reads per second, and the share of what plain reading measured here. Kernels take turns, so that a
 * busy moment meets them all. Medians after a warm-up.
 *
 * usage: bench_ffn [--rounds N] [--op product|ffn|walk] [--format NAME] [--shape 0..2] [--x ROWS] [--threads N]
 *                  [--form ref|avx2|avx512] [--cold|--warm] [--json] */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "bench/stats.h"
#include "cpu/cpu_matmul.h"
#include "kernels/int8_matmul.h"
#include "quant/weight_type.h"

enum { MOST_ROUNDS = 101, MOST_COPIES = 64, KERNELS = 3, WALK_SHARES = 2 };
static const size_t cold_bytes = (size_t)192 << 20; /* six times the largest cache here */

enum op { OP_PRODUCT, OP_FFN, OP_WALK, OPS };
static const char *const op_names[OPS] = {"product", "ffn", "walk"};
static const char *const kernel_names[] = {"fused", "dequant", "int8", "walk"};
static const struct {
    size_t hidden, intermediate;
} shapes[] = {{640, 2048}, {2560, 10240}, {3584, 18944}};

static struct {
    int rounds, op, format, shape, threads, cold;
    size_t x;
    const char *form;
    bool json;
} options = {11, -1, -1, -1, 0, -1, 0, NULL, false};

static double now_us(void)
{
    return phy_seconds_now() * 1e6;
}

static double median(double *values, int count)
{
    struct phy_bench_summary s;
    phy_bench_summarise(values, (size_t)count, &s);
    return s.median;
}

/* ---- what reading takes ---- */

struct read_job {
    const uint64_t *words;
    size_t share; /* words for each index */
    uint64_t sums[64];
};

static void read_share(void *user, size_t index, unsigned worker)
{
    struct read_job *job = user;
    const uint64_t *words = job->words + index * job->share;
    uint64_t sum[8] = {0};
    for (size_t i = 0; i + 8 <= job->share; i += 8) {
        for (size_t l = 0; l < 8; l++)
            sum[l] += words[i + l];
    }
    job->sums[worker] += sum[0] + sum[1] + sum[2] + sum[3] + sum[4] + sum[5] + sum[6] + sum[7];
}

/* Bytes per microsecond. */
static double read_speed(struct phy_pool *pool)
{
    const size_t words = ((size_t)256 << 20) / 8, shares = 64;
    uint64_t *memory = phy_alloc(words, 8);
    double times[9];
    if (!memory)
        return 0;
    for (size_t i = 0; i < words; i++)
        memory[i] = i;
    struct read_job job = {.words = memory, .share = words / shares};
    for (int round = 0; round < 9; round++) {
        double started = now_us();
        phy_pool_run(pool, shares, read_share, &job);
        times[round] = now_us() - started;
    }
    phy_free(memory);
    return (double)words * 8 / median(times, 9);
}

/* ---- weights ---- */

/* Random bytes whose scales are small numbers: a half of exponent 8, an e4m3 or an e8m0 code below one. */
static void fill(enum phy_weight_type type, uint8_t *to, size_t bytes)
{
    static const struct {
        int at, step;
    } scale[PHY_WEIGHT_TYPE_COUNT] = {
        [PHY_WEIGHT_BF16] = {0, 2},  [PHY_WEIGHT_F16] = {0, 2},    [PHY_WEIGHT_Q8_0] = {0, 34},
        [PHY_WEIGHT_Q4_0] = {0, 18}, [PHY_WEIGHT_Q4_K] = {0, 144}, [PHY_WEIGHT_Q6_K] = {208, 210}};
    uint64_t state = 88172645463325252u;
    for (size_t i = 0; i < bytes; i++) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        to[i] = (uint8_t)(type == PHY_WEIGHT_F32 ? i % 4 == 3 ? 0x3C : state : state & 0x77);
    }
    for (size_t i = (size_t)scale[type].at; scale[type].step && i + 1 < bytes; i += (size_t)scale[type].step)
        to[i + 1] = type == PHY_WEIGHT_BF16 ? 0x3C : 0x20 | (to[i + 1] & 3);
    for (size_t i = 2; type == PHY_WEIGHT_Q4_K && i + 1 < bytes; i += 144)
        to[i + 1] = 0x20 | (to[i + 1] & 3);
    for (size_t i = 0; type == PHY_WEIGHT_MXFP4 && i < bytes; i += 17)
        to[i] = 120;
}

/* One layer, `copies` times. */
struct layers {
    enum phy_weight_type type;
    size_t hidden, intermediate, copies;
    uint8_t *gate_up[MOST_COPIES], *down[MOST_COPIES]; /* (2 intermediate, hidden); (hidden, intermediate) */
    size_t gate_bytes, down_bytes;
    float *x, *y, *gated;
};

static bool layers_make(struct layers *l)
{
    size_t row = 0, down_row = 0, by_feature = 0;
    phy_weight_row_bytes(l->type, l->hidden, &row);
    phy_weight_row_bytes(l->type, l->intermediate, &down_row);
    l->gate_bytes = l->intermediate * row;
    l->down_bytes = l->hidden * down_row;
    by_feature = l->gate_bytes > l->down_bytes ? l->gate_bytes : l->down_bytes; /* the walk's down is as gate */
    l->copies = cold_bytes / l->gate_bytes + 2;
    l->copies = l->copies > MOST_COPIES ? MOST_COPIES : l->copies;
    for (size_t i = 0; i < l->copies; i++) {
        l->gate_up[i] = phy_alloc_aligned(2 * l->gate_bytes);
        l->down[i] = phy_alloc_aligned(by_feature);
        if (!l->gate_up[i] || !l->down[i])
            return false;
        if (i == 0) {
            fill(l->type, l->gate_up[0], 2 * l->gate_bytes);
            fill(l->type, l->down[0], by_feature);
        } else {
            memcpy(l->gate_up[i], l->gate_up[0], 2 * l->gate_bytes);
            memcpy(l->down[i], l->down[0], by_feature);
        }
    }
    l->x = phy_alloc(512 * l->hidden, sizeof(float));
    l->y = phy_alloc(512 * l->intermediate, sizeof(float));
    l->gated = phy_alloc(512 * l->intermediate, sizeof(float));
    for (size_t i = 0; l->x && i < 512 * l->hidden; i++)
        l->x[i] = (float)(i * 2654435761u % 97) / 97 - 0.5f;
    return l->x && l->y && l->gated;
}

static void layers_free(struct layers *l)
{
    for (size_t i = 0; i < l->copies; i++) {
        phy_free(l->gate_up[i]);
        phy_free(l->down[i]);
    }
    phy_free(l->x);
    phy_free(l->y);
    phy_free(l->gated);
}

/* ---- one call ---- */

static char last_form[32];
static void note_form(void *user, enum phy_product_kernel kernel, enum phy_weight_type type, const char *form)
{
    (void)user;
    (void)kernel;
    (void)type;
    snprintf(last_form, sizeof last_form, "%s", form);
}

/* kernel: a product kernel; of a walk the quarters of features that it visits. Returns microseconds. */
static double run_once(struct phy_matmul_backend *cpu, const struct layers *l, enum op op, int kernel, size_t copy,
                       size_t count, uint32_t *features)
{
    const struct phy_weights gate = {l->gate_up[copy], l->type, l->intermediate, l->hidden, 0, 0};
    const struct phy_weights up = {l->gate_up[copy] + l->gate_bytes, l->type, l->intermediate, l->hidden, 0, 0};
    const struct phy_weights gate_up = {l->gate_up[copy], l->type, 2 * l->intermediate, l->hidden, 0, 0};
    const struct phy_weights down = {l->down[copy], l->type, l->hidden, l->intermediate, 0, 0};
    const struct phy_weights by_feature = {l->down[copy], l->type, l->intermediate, l->hidden, 0, 0};
    const struct phy_product product = {&gate, l->y, NULL, (enum phy_product_kernel)kernel};
    const struct phy_ffn_product ffn = {.gate_up = &gate_up,
                                        .down = &down,
                                        .kernel = (enum phy_product_kernel)kernel,
                                        .x = l->x,
                                        .count = count,
                                        .gated = l->gated,
                                        .y = l->y};
    size_t skipped, listed = 0;
    for (size_t i = 0; op == OP_WALK && i < l->intermediate; i++) {
        if (kernel == 4 || i % 4 == i / 4 % 4) /* no two quarters alike */
            features[listed++] = (uint32_t)i;
    }
    const struct phy_walk_product walk = {.gate = &gate,
                                          .up = &up,
                                          .down = &by_feature,
                                          .features = features,
                                          .feature_count = listed,
                                          .x = l->x,
                                          .y = l->y,
                                          .skipped = &skipped,
                                          .rows = 1};
    double started = now_us();
    enum phy_status status = op == OP_PRODUCT ? cpu->ops->multiply(cpu, &product, 1, l->x, count)
                             : op == OP_FFN   ? cpu->ops->ffn(cpu, &ffn)
                                              : cpu->ops->walk(cpu, &walk);
    return status == PHY_OK ? now_us() - started : -1;
}

static size_t bytes_read(const struct layers *l, enum op op, int kernel)
{
    if (op == OP_PRODUCT)
        return l->gate_bytes;
    return op == OP_FFN ? 2 * l->gate_bytes + l->down_bytes : 3 * l->gate_bytes * (size_t)kernel / 4;
}

static void print_row(const struct layers *l, enum op op, int kernel, size_t count, bool cold, unsigned threads,
                      double us, double best, double peak)
{
    const double bytes = (double)bytes_read(l, op, kernel);
    const double weights = (double)l->hidden * (double)l->intermediate *
                           (op == OP_PRODUCT ? 1
                            : op == OP_FFN   ? 3
                                             : 3 * kernel / 4.0);
    const char *name = phy_weight_format(l->type)->name;
    char what[16];
    if (op != OP_WALK)
        snprintf(what, sizeof what, "%s", kernel_names[kernel]);
    else
        snprintf(what, sizeof what, "%d%%", kernel * 25);
    printf(options.json ? "{\"op\":\"%s\",\"format\":\"%s\",\"kernel\":\"%s\",\"form\":\"%s\",\"hidden\":%zu,"
                          "\"intermediate\":%zu,\"x_rows\":%zu,\"state\":\"%s\",\"threads\":%u,\"median_us\":%.1f,"
                          "\"best_us\":%.1f,\"gb_per_s\":%.2f,\"share_of_read\":%.3f,\"gflop_per_s\":%.1f}\n"
                        : "%-8s %-10s %-8s %-10s %5zu x %-6zu x rows %-4zu %-4s %u threads %10.1f us (best %10.1f) "
                          "%7.2f GB/s %5.2f of reading %8.1f GFLOP/s\n",
           op_names[op], name, what, last_form, l->hidden, l->intermediate, count, cold ? "cold" : "warm", threads, us,
           best, bytes / us * 1e-3, bytes / us / peak, 2e-3 * weights * (double)count / us);
    fflush(stdout);
}

/* ---- the table ---- */

static void measure(struct phy_matmul_backend *cpu, const struct layers *l, enum op op, size_t count, bool cold,
                    unsigned threads, double peak)
{
    static double times[8][MOST_ROUNDS];
    uint32_t *features = phy_alloc(l->intermediate, sizeof *features);
    int kernels[KERNELS] = {PHY_KERNEL_FUSED, PHY_KERNEL_DEQUANT, PHY_KERNEL_INT8}, used = KERNELS;
    if (op == OP_WALK) {
        kernels[0] = 1;
        kernels[1] = 4;
        used = WALK_SHARES;
    }
    const int rounds = count > 8 && options.rounds > 5 ? 5 : options.rounds;
    size_t copy = 0;
    for (int k = 0; features && k < used; k++) {
        if (op != OP_WALK && !cpu->ops->offers(cpu, (enum phy_product_kernel)kernels[k], l->type))
            continue;
        for (int round = -1; round < rounds; round++) {
            double us = run_once(cpu, l, op, kernels[k], cold ? copy++ % l->copies : 0, count, features);
            if (round >= 0)
                times[k][round] = us;
        }
        double middle = median(times[k], rounds);
        print_row(l, op, kernels[k], count, cold, threads, middle, times[k][0], peak);
    }
    phy_free(features);
}

static int measure_format(enum phy_weight_type type, size_t shape, struct phy_pool **pools, const double *peaks)
{
    static const size_t counts[] = {1, 8, 64, 512};
    struct layers l = {.type = type, .hidden = shapes[shape].hidden, .intermediate = shapes[shape].intermediate};
    if (!layers_make(&l))
        return 6;
    for (unsigned threads = 1; threads <= 2; threads++) {
        struct phy_matmul_backend *cpu;
        if (options.threads && options.threads != (int)threads)
            continue;
        if (phy_cpu_matmul_create(&cpu, options.form, pools[threads], NULL) != PHY_OK)
            return 6;
        cpu->ran = note_form;
        for (int op = 0; op < OPS; op++) {
            for (size_t c = 0; c < sizeof counts / sizeof *counts; c++) {
                for (int cold = 0; cold < 2; cold++) {
                    if ((options.op >= 0 && options.op != op) || (options.cold >= 0 && options.cold != cold) ||
                        (options.x && options.x != counts[c]) || (op == OP_WALK && counts[c] > 1))
                        continue;
                    measure(cpu, &l, (enum op)op, counts[c], cold, threads, peaks[threads]);
                }
            }
        }
        phy_matmul_backend_destroy(&cpu);
    }
    layers_free(&l);
    return 0;
}

static bool read_options(int argc, char **argv)
{
    enum phy_weight_type type;
    for (int i = 1; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : "";
        if (strcmp(argv[i], "--json") == 0)
            options.json = true;
        else if (strcmp(argv[i], "--cold") == 0)
            options.cold = 1;
        else if (strcmp(argv[i], "--warm") == 0)
            options.cold = 0;
        else if (i++, strcmp(argv[i - 1], "--rounds") == 0)
            options.rounds = atoi(value);
        else if (strcmp(argv[i - 1], "--op") == 0)
            for (int op = 0; op < OPS; op++)
                options.op = strcmp(value, op_names[op]) == 0 ? op : options.op;
        else if (strcmp(argv[i - 1], "--format") == 0 && phy_weight_type_named(value, &type))
            options.format = (int)type;
        else if (strcmp(argv[i - 1], "--shape") == 0)
            options.shape = atoi(value);
        else if (strcmp(argv[i - 1], "--x") == 0)
            options.x = (size_t)atoi(value);
        else if (strcmp(argv[i - 1], "--threads") == 0)
            options.threads = atoi(value);
        else if (strcmp(argv[i - 1], "--form") == 0)
            options.form = value;
        else
            return false;
    }
    options.rounds = options.rounds < 1 ? 1 : options.rounds > MOST_ROUNDS ? MOST_ROUNDS : options.rounds;
    return true;
}

int main(int argc, char **argv)
{
    struct phy_pool *pools[3] = {NULL, phy_pool_create(1), phy_pool_create(2)};
    if (!read_options(argc, argv) || !pools[1] || !pools[2]) {
        fprintf(stderr, "usage: bench_ffn [--rounds N] [--op product|ffn|walk] [--format NAME] [--shape 0..2] "
                        "[--x ROWS] [--threads N] [--form NAME] [--cold|--warm] [--json]\n");
        return 2;
    }
    const double peaks[3] = {0, read_speed(pools[1]), read_speed(pools[2])};
    if (!options.json)
        printf("reading: %.2f GB/s on one thread, %.2f GB/s on two\n", peaks[1] * 1e-3, peaks[2] * 1e-3);
    int status = 0;
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes && status == 0; s++) {
        for (int type = 0; type < PHY_WEIGHT_TYPE_COUNT && status == 0; type++) {
            if ((options.shape < 0 || options.shape == (int)s) && (options.format < 0 || options.format == type))
                status = measure_format((enum phy_weight_type)type, s, pools, peaks);
        }
    }
    phy_pool_destroy(pools[1]);
    phy_pool_destroy(pools[2]);
    return status;
}
