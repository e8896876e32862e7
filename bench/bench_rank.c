/* SPDX-License-Identifier: Apache-2.0 */
/* How fast each form ranks rows: every entry of the variants table on the same bf16 rows, in turns. Prints the median
 * and the best of the rounds after a warm-up, and GB/s of codes read and written. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/cpu_features.h"
#include "bench/stats.h"
#include "kernels/rank_rows.h"

enum { COLS = 4096, ROWS = 256, ROUNDS = 9, REF_SHARE = 4 };

/* One thread that never waits: what others do on the machine is not counted. */
/* bf16 codes near a normal distribution, as weights of a layer are. */
static void fill_codes(uint16_t *codes, size_t count)
{
    uint64_t seed = 1;
    for (size_t i = 0; i < count; i++) {
        int32_t sum = -4 * 32768;
        seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        for (int n = 0; n < 4; n++)
            sum += (int32_t)(seed >> (4 + 12 * n) & 0xFFFF);
        float w = (float)sum * 0x1p-21f;
        uint32_t bits;
        memcpy(&bits, &w, sizeof bits);
        codes[i] = (uint16_t)(bits >> 16);
    }
}

static uint16_t donor[ROWS * COLS], codes[ROWS * COLS];
static uint32_t scratch[PHY_RANK_SCRATCH_WORDS * COLS];
static uint64_t bins[PHY_RANK_BINS * COLS];
static float factor[COLS], inverse[COLS];
static struct phy_flow_tile_result results[ROWS];

/* Weights a second of one pass over fresh codes. */
static double one_pass(const struct phy_rank_variant *variant, const struct phy_rank_params *params)
{
    size_t count = strcmp(variant->name, "ref") == 0 ? ROWS / REF_SHARE : ROWS;
    struct phy_rank_rows rows = {.codes = codes,
                                 .type = PHY_FLOAT_BF16,
                                 .rows = count,
                                 .cols = COLS,
                                 .column_factor = params->score == PHY_RANK_MAGNITUDE ? NULL : factor,
                                 .column_inverse = inverse,
                                 .apply = true,
                                 .scratch = scratch,
                                 .results = results};
    memcpy(codes, donor, sizeof codes);
    double begin = phy_seconds_now();
    variant->run(&rows, params);
    return (double)(count * COLS) / (phy_seconds_now() - begin);
}

static void print(const char *form, const char *what, double *rates)
{
    struct phy_bench_summary s;
    phy_bench_summarise(rates, ROUNDS, &s);
    printf("%-8s %-16s %12.1f %12.1f %10.2f\n", form, what, s.median / 1e6, rates[ROUNDS - 1] / 1e6,
           s.median * 4 / 1e9);
}

int main(void)
{
    static const struct {
        const char *name;
        struct phy_rank_params params;
    } runs[] = {
        {"magnitude 50%", {.score = PHY_RANK_MAGNITUDE, .kill = COLS / 2}},
        {"wanda 50%", {.score = PHY_RANK_WANDA, .kill = COLS / 2}},
        {"ria 50%", {.score = PHY_RANK_RIA, .kill = COLS / 2}},
        {"wanda 2:4", {.score = PHY_RANK_WANDA, .keep = 2, .group = 4}},
        {"wanda 4:8", {.score = PHY_RANK_WANDA, .keep = 4, .group = 8}},
    };
    struct phy_cpu_features have = phy_cpu_detect();
    double rates[ROUNDS];
    fill_codes(donor, ROWS * COLS);
    for (size_t j = 0; j < COLS; j++)
        factor[j] = 0.5f + (float)(j * 7 % 64) / 64.0f;
    printf("%s\nranking of %d rows of %d bf16 weights, one thread, %d rounds\n\n%-8s %-16s %12s %12s %10s\n",
           phy_cpu_model(), ROWS, COLS, ROUNDS, "form", "what", "median M/s", "best M/s", "GB/s");
    for (int round = -1; round < ROUNDS; round++) {
        double begin = phy_seconds_now();
        memset(bins, 0, sizeof bins);
        phy_rank_add_columns(bins, donor, PHY_FLOAT_BF16, ROWS, COLS);
        phy_rank_fold_columns(bins, COLS);
        if (round >= 0)
            rates[round] = (double)(ROWS * COLS) / (phy_seconds_now() - begin);
    }
    phy_rank_invert_columns(bins, COLS, inverse);
    print("all", "sums of columns", rates);
    for (const struct phy_rank_variant *v = phy_rank_variants; v->name; v++) {
        for (size_t i = 0; i < sizeof runs / sizeof *runs && phy_cpu_meets(&have, &v->needs); i++) {
            for (int round = -1; round < ROUNDS; round++) {
                double rate = one_pass(v, &runs[i].params);
                if (round >= 0)
                    rates[round] = rate;
            }
            print(v->name, runs[i].name, rates);
        }
    }
    return 0;
}
