/* SPDX-License-Identifier: Apache-2.0 */
/* Speed of the encoders' forms on one thread, in millions of elements per second of the thread's processor time, so
 * that a busy machine's other work counts little. Forms take turns; medians and bests after a warm-up.
 *
 * usage: bench_quant [ROUNDS [FORMAT]] */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/alloc.h"
#include "bench/stats.h"
#include "quant/encode_forms.h"
#include "quant/small_float.h"

enum { ELEMENTS = 1 << 20, REF_ELEMENTS = 1 << 17, MOST_ROUNDS = 101, MOST_FORMS = 8 };

static double now_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Sums of four uniform variables: a bell of weights' usual width. */
static void fill(float *x, size_t count)
{
    uint64_t seed = 1;
    for (size_t i = 0; i < count; i++) {
        float sum = 0;
        for (int k = 0; k < 4; k++) {
            seed = seed * 6364136223846793005u + 1442695040888963407u;
            sum += (float)(seed >> 40) * 0x1p-24f - 0.5f;
        }
        x[i] = 0.02f * sum;
    }
}

struct form {
    const char *name;
    phy_encode_blocks *encode;
    double rate[MOST_ROUNDS];
};

static size_t forms_of(const struct phy_quant_format *format, struct form *out)
{
    const struct phy_cpu_features have = phy_cpu_detect();
    size_t count = 0;
    for (const struct phy_encode_variant *v = phy_encode_variants; v->format; v++) {
        if (strcmp(v->format, format->name) == 0 && phy_cpu_meets(&have, &v->needs)) {
            out[count].name = v->name;
            out[count++].encode = v->encode;
        }
    }
    if (count == 0) {
        out[0].name = "only";
        out[0].encode = format->encode;
        count = 1;
    }
    return count;
}

static void measure(const struct phy_quant_format *format, int rounds, const float *x, uint8_t *bytes)
{
    static struct form forms[MOST_FORMS];
    const size_t count = forms_of(format, forms);
    for (int round = -1; round < rounds; round++) {
        for (size_t f = 0; f < count; f++) {
            const size_t elements = strcmp(forms[f].name, "ref") == 0 ? REF_ELEMENTS : ELEMENTS;
            const double started = now_seconds();
            forms[f].encode(x, elements / format->elements, bytes);
            if (round >= 0)
                forms[f].rate[round] = (double)elements / (now_seconds() - started);
        }
    }
    for (size_t f = 0; f < count; f++) {
        struct phy_bench_summary s;
        phy_bench_summarise(forms[f].rate, (size_t)rounds, &s);
        const double median = s.median, best = forms[f].rate[rounds - 1];
        printf("%-11s %-7s %8.1f M elements/s (best %8.1f)\n", format->name, forms[f].name, median * 1e-6, best * 1e-6);
    }
}

int main(int argc, char **argv)
{
    int rounds = argc > 1 ? atoi(argv[1]) : 11;
    rounds = rounds < 1 ? 1 : rounds > MOST_ROUNDS ? MOST_ROUNDS : rounds;
    float *x = phy_alloc(ELEMENTS, sizeof *x);
    uint8_t *bytes = phy_alloc(ELEMENTS, 4);
    if (!x || !bytes)
        return 6;
    fill(x, ELEMENTS);
    printf("%s, one thread\n", phy_cpu_model());
    for (size_t i = 0; i < phy_quant_format_count; i++) {
        if (phy_quant_formats[i].encode && (argc < 3 || strcmp(argv[2], phy_quant_formats[i].name) == 0))
            measure(&phy_quant_formats[i], rounds, x, bytes);
    }
    phy_free(x);
    phy_free(bytes);
    return 0;
}
