/* SPDX-License-Identifier: Apache-2.0 */
/* Speed of the model runner: prefill of N tokens, decode of M from an empty context, and the machine's read bandwidth
 * on the same threads. Every line on standard input runs one round, so that another program can take turns; each round
 * prints one line: microseconds of the prefill, of one decoded token, read bandwidth in GB/s, and the processor time of
 * the prefill and of a token, all threads together, which a busy machine disturbs less.
 *
 * usage: bench_generate MODEL [THREADS [PREFILL [DECODE [DEVICE [ACTIVATIONS]]]]]
 *                             (0: the processors, 512, 64, cpu, f32 or bf16) */
#include <immintrin.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/cpu_features.h"
#include "base/pool.h"
#include "physarium/model.h"

/* ---- what the memory gives: sums over a buffer that no cache holds, read ahead into L2 as the products do ---- */

enum { READ_PIECE = 1 << 20, READ_AHEAD = 4096, READ_ASKS = 4 };
static const size_t read_bytes = (size_t)256 << 20;

static void read_piece(void *user, size_t index, unsigned worker)
{
    const char *from = (const char *)user + index * READ_PIECE;
    (void)worker;
    __m128i sum[4] = {_mm_setzero_si128(), _mm_setzero_si128(), _mm_setzero_si128(), _mm_setzero_si128()};
    for (size_t at = 0; at < READ_PIECE; at += 64) {
        for (size_t ahead = 1; ahead <= READ_ASKS; ahead++)
            __builtin_prefetch((const void *)((uintptr_t)from + at + ahead * READ_AHEAD), 0, 2);
        for (size_t i = 0; i < 4; i++)
            sum[i] = _mm_add_epi64(sum[i], _mm_load_si128((const __m128i *)(from + at + i * 16)));
    }
    __m128i all = _mm_add_epi64(_mm_add_epi64(sum[0], sum[1]), _mm_add_epi64(sum[2], sum[3]));
    __asm__ volatile("" ::"x"(all)); /* the sum is the reason to read */
}

/* The best of three passes: what the memory can give, not what it gave another program. */
static double read_bandwidth(struct phy_pool *pool, char *buffer)
{
    double best = 0;
    for (int pass = 0; pass < 3; pass++) {
        double started = phy_seconds_now();
        phy_pool_run(pool, read_bytes / READ_PIECE, read_piece, buffer);
        double rate = (double)read_bytes / (phy_seconds_now() - started) * 1e-9;
        best = rate > best ? rate : best;
    }
    return best;
}

/* ---- the model ---- */

struct times {
    double wall, cpu; /* seconds */
};

static struct times times_now(void)
{
    struct timespec cpu;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &cpu);
    return (struct times){phy_seconds_now(), (double)cpu.tv_sec + 1e-9 * (double)cpu.tv_nsec};
}

static struct times times_since(struct times started, double parts)
{
    struct times now = times_now();
    return (struct times){(now.wall - started.wall) / parts, (now.cpu - started.cpu) / parts};
}

struct largest {
    uint32_t vocab, token;
};

static bool take_largest(void *user, uint32_t position, const float *logits)
{
    struct largest *largest = user;
    (void)position;
    largest->token = 0;
    for (uint32_t i = 1; i < largest->vocab; i++) {
        if (logits[i] > logits[largest->token])
            largest->token = i;
    }
    return true;
}

static struct times run_prefill(struct phy_session *session, const uint32_t *tokens, size_t count,
                                struct largest *largest)
{
    phy_session_truncate(session, 0);
    struct times started = times_now();
    if (phy_session_forward(session, tokens, count, UINT32_MAX, take_largest, largest) != PHY_OK)
        exit(1);
    return times_since(started, 1);
}

static struct times run_decode(struct phy_session *session, size_t count, struct largest *largest)
{
    phy_session_truncate(session, 0);
    largest->token = 1;
    struct times started = times_now();
    for (size_t i = 0; i < count; i++) {
        uint32_t token = largest->token;
        if (phy_session_forward(session, &token, 1, UINT32_MAX, take_largest, largest) != PHY_OK)
            exit(1);
    }
    return times_since(started, (double)count);
}

static void to_stderr(void *user, enum phy_log_level level, const char *message)
{
    (void)user, (void)level;
    fprintf(stderr, "bench_generate: %s\n", message);
}

static size_t number(int argc, char **argv, int index, size_t otherwise)
{
    size_t value = argc > index ? strtoul(argv[index], NULL, 10) : 0;
    return value ? value : otherwise;
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        fprintf(stderr, "usage: bench_generate MODEL [THREADS [PREFILL [DECODE [DEVICE [ACTIVATIONS]]]]]\n");
        return 2;
    }
    const struct phy_host host = {.log = to_stderr};
    uint32_t threads = (uint32_t)number(argc, argv, 2, phy_cpu_count());
    size_t prefill = number(argc, argv, 3, 512), decode = number(argc, argv, 4, 64);
    const struct phy_model_params params = {.device = argc > 5 ? argv[5] : NULL,
                                            .threads = threads,
                                            .bf16_activations = argc > 6 && strcmp(argv[6], "bf16") == 0,
                                            .host = &host};
    struct phy_model *model;
    struct phy_session *session = NULL;
    if (phy_model_open(&model, argv[1], &params) != PHY_OK)
        return 1;
    struct phy_model_info info;
    phy_model_describe(model, &info);
    struct phy_pool *pool = phy_pool_create(threads);
    uint32_t *tokens = phy_alloc(prefill, sizeof *tokens);
    char *buffer = phy_alloc_aligned(read_bytes);
    size_t most = prefill > decode ? prefill : decode;
    if (!pool || !tokens || !buffer || phy_session_create(&session, model, (uint32_t)most) != PHY_OK)
        return 1;
    memset(buffer, 1, read_bytes);
    for (size_t i = 0; i < prefill; i++)
        tokens[i] = (uint32_t)((i * 7919 + 13) % info.vocab_size);

    printf("# %s, %s activations, %u threads, weight_bytes %llu\n", info.device, info.activations, threads,
           (unsigned long long)info.weight_bytes);
    fflush(stdout);
    char line[16];
    while (fgets(line, sizeof line, stdin)) {
        struct largest largest = {.vocab = info.vocab_size};
        struct times whole = run_prefill(session, tokens, prefill, &largest);
        struct times each = run_decode(session, decode, &largest);
        printf("%.0f %.1f %.2f %.0f %.1f\n", whole.wall * 1e6, each.wall * 1e6, read_bandwidth(pool, buffer),
               whole.cpu * 1e6, each.cpu * 1e6);
        fflush(stdout);
    }
    phy_session_destroy(&session);
    phy_model_close(&model);
    phy_pool_destroy(pool);
    phy_free(buffer);
    phy_free(tokens);
    return 0;
}
