/* SPDX-License-Identifier: Apache-2.0 */
/* Speed of the matmul forms: bytes of weights per second for few rows of x, floating-point operations for many. One
 * thread; forms take turns, so that a busy moment meets them all. Medians after a warm-up.
 *
 * usage: bench_matmul [ROUNDS] */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/alloc.h"
#include "kernels/matmul.h"

enum { MOST_ROUNDS = 101, MOST_FORMS = 8 };

static double now_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

struct shape {
    size_t rows, cols, count;
};

static double run_once(const struct phy_matmul_variant *form, const struct phy_matmul *product, float *panel)
{
    double started = now_seconds();
    if (product->count <= PHY_MATVEC_MAX_COUNT)
        form->matvec(product, 0, product->rows);
    else
        form->matmul(product, 0, product->rows, panel);
    return now_seconds() - started;
}

static int measure(const struct shape *shape, int rounds)
{
    static double seconds[MOST_FORMS][MOST_ROUNDS];
    uint16_t *w = phy_alloc(shape->rows * shape->cols, sizeof *w);
    float *x = phy_alloc(shape->count * shape->cols, sizeof *x), *y = phy_alloc(shape->count * shape->rows, sizeof *y);
    float *panel = phy_alloc_aligned(PHY_MATMUL_PANEL_BYTES);
    if (!w || !x || !y || !panel)
        return 1;
    for (size_t i = 0; i < shape->rows * shape->cols; i++)
        w[i] = (uint16_t)(0x3C00 + i * 2654435761u % 0x300);
    for (size_t i = 0; i < shape->count * shape->cols; i++)
        x[i] = (float)(i % 17) - 8.0f;
    struct phy_matmul product = {w, PHY_WEIGHT_BF16, shape->rows, shape->cols, x, shape->count, y, shape->rows};
    struct phy_cpu_features have = phy_cpu_detect();
    for (int round = -1; round < rounds; round++) {
        for (int f = 1; phy_matmul_variants[f].name; f++) {
            double s = phy_cpu_meets(&have, &phy_matmul_variants[f].needs)
                           ? run_once(&phy_matmul_variants[f], &product, panel)
                           : 0;
            if (round >= 0)
                seconds[f][round] = s;
        }
    }
    for (int f = 1; phy_matmul_variants[f].name; f++) {
        qsort(seconds[f], (size_t)rounds, sizeof(double), by_value);
        double median = seconds[f][rounds / 2], best = seconds[f][0];
        double bytes = (double)shape->rows * (double)shape->cols * 2, flops = bytes * (double)shape->count;
        if (median > 0)
            printf("%-7s %6zu x %-6zu x rows %-4zu %9.1f us (best %9.1f) %7.2f GB/s of weights %8.1f GFLOP/s\n",
                   phy_matmul_variants[f].name, shape->rows, shape->cols, shape->count, median * 1e6, best * 1e6,
                   bytes / median * 1e-9, flops / median * 1e-9);
    }
    phy_free(w);
    phy_free(x);
    phy_free(y);
    phy_free(panel);
    return 0;
}

int main(int argc, char **argv)
{
    static const struct shape shapes[] = {{1536, 576, 1},   {1536, 576, 8},   {1536, 576, 64},   {1536, 576, 512},
                                          {18944, 3584, 1}, {3584, 3584, 64}, {3584, 18944, 64}, {3584, 3584, 512}};
    int rounds = argc > 1 ? atoi(argv[1]) : 11;
    rounds = rounds < 1 ? 1 : rounds > MOST_ROUNDS ? MOST_ROUNDS : rounds;
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        if (measure(&shapes[i], rounds))
            return 6;
    }
    return 0;
}
