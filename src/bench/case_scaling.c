/* SPDX-License-Identifier: Apache-2.0 */
/* Curves: threads, tiles, rows of x, and a checkpoint's size, which should cost time in proportion and memory not at
 * all. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "bench/synthetic.h"
#include "bench/worker.h"
#include "report/text.h"
#include "surgery/remove_tree.h"

static enum phy_status scale_threads(struct phy_bench_worker *w, double budget_s)
{
    const uint32_t most = w->job.threads;
    const struct phy_bench_shape shape = {1024, 4096};
    const uint32_t one_row = 1;
    struct phy_pool *all = w->pool;
    enum phy_status status = PHY_OK;
    size_t steps = 0;
    for (uint32_t n = 1; n <= most; n = n * 2 > most && n < most ? most : n * 2)
        steps++;
    for (uint32_t n = 1; n <= most && status == PHY_OK; n = n * 2 > most && n < most ? most : n * 2) {
        w->job.threads = n;
        w->pool = phy_pool_create(n);
        if (!w->pool) {
            status = phy_fail(w->host, PHY_ERR_MEMORY, "out of memory: %u threads", n);
            break;
        }
        const struct phy_bench_flow_case flow = {"scaling_threads", PHY_FLOAT_BF16, 512, 2048, n};
        status = phy_bench_flow_one(w, &flow, budget_s / (double)(2 * steps));
        const struct phy_bench_products products = {.op = "scaling_threads",
                                                    .formats = "bf16",
                                                    .shapes = &shape,
                                                    .shape_count = 1,
                                                    .x_rows = &one_row,
                                                    .x_row_count = 1,
                                                    .cold = true,
                                                    .budget_s = budget_s / (double)(2 * steps)};
        if (status == PHY_OK && w->is_cpu)
            status = phy_bench_products_run(w, &products);
        phy_pool_destroy(w->pool);
    }
    w->job.threads = most;
    w->pool = all;
    return status;
}

static enum phy_status scale_tiles(struct phy_bench_worker *w, double budget_s)
{
    const uint32_t most = w->job.quick ? 16 : 64;
    enum phy_status status = PHY_OK;
    for (uint32_t tiles = 1; tiles <= most && status == PHY_OK; tiles *= 4) {
        const struct phy_bench_flow_case flow = {"scaling_tiles", PHY_FLOAT_BF16, 256, tiles * 256, w->job.threads};
        status = phy_bench_flow_one(w, &flow, budget_s / 4);
    }
    return status;
}

static enum phy_status scale_rows(struct phy_bench_worker *w, double budget_s)
{
    static const uint32_t rows[] = {1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048};
    const struct phy_bench_shape shape = {1024, 2048};
    const struct phy_bench_products products = {
        .op = "scaling_rows",
        .formats = w->job.formats && strcmp(w->job.formats, "all") != 0 ? w->job.formats : "bf16,q4_k",
        .shapes = &shape,
        .shape_count = 1,
        .x_rows = rows,
        .x_row_count = w->job.quick ? 6 : sizeof rows / sizeof *rows,
        .warm = true,
        .budget_s = budget_s,
    };
    return phy_bench_products_run(w, &products);
}

static enum phy_status scale_bytes(struct phy_bench_worker *w, double budget_s)
{
    enum phy_status status = PHY_OK;
    const uint32_t most = w->job.quick ? 4 : 16;
    for (uint32_t layers = 1; layers <= most && status == PHY_OK; layers *= 2) {
        /* Of SmolLM2's family, a little wider: 15 MB a layer. */
        const struct phy_bench_synthetic shape = {1024, 1536, 256, layers};
        struct phy_text donor = {0};
        char text[40];
        phy_text_printf(&donor, "%s/bench-donor-%ld", w->job.scratch ? w->job.scratch : ".", (long)getpid());
        if (donor.failed)
            return phy_fail_memory(w->host, "a path", donor.bytes);
        status = phy_bench_write_synthetic(donor.data, &shape, w->host);
        snprintf(text, sizeof text, "%ux%ux%u", layers, shape.hidden, shape.intermediate);
        if (status == PHY_OK)
            status = phy_bench_surgery_one(w, "scaling_bytes", donor.data, text, true, budget_s / 5);
        if (access(donor.data, F_OK) == 0)
            phy_remove_tree(AT_FDCWD, donor.data);
        phy_text_free(&donor);
    }
    return status;
}

enum phy_status phy_bench_run_scaling(struct phy_bench_worker *w)
{
    enum phy_status (*const curves[])(struct phy_bench_worker *, double) = {scale_threads, scale_tiles, scale_rows,
                                                                            scale_bytes};
    enum { CURVES = sizeof curves / sizeof *curves };
    enum phy_status status = PHY_OK;
    for (size_t i = 0; i < CURVES && status == PHY_OK; i++)
        status = curves[i](w, phy_bench_share(w, CURVES - i));
    return status;
}
