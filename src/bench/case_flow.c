/* SPDX-License-Identifier: Apache-2.0 */
/* The tile flow by a device's backend, as surgery calls it: a region from host memory and back, each thread its own. */
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/log.h"
#include "bench/matrices.h"
#include "bench/worker.h"
#include "device/device_set.h"
#include "vk/vk_backend.h"

/* float32 and int32 operations of one weight in one iteration at beta 2, as docs/tile-flow.md writes it: g = D food
 * (1), to fixed point (2), into two sums (2), share (3), response (2), 1 + q (1), its reciprocal (7), q times it (1),
 * the mean with D (2). Each counts one: none may be fused, so that half of a peak of multiply-adds is all there is. */
enum { OPERATIONS = 21, ITERATIONS = 30, BLOCK = 256, MAX_SLOTS = 256 };

struct flow_run {
    struct phy_backend *backend;
    struct phy_pool *pool;
    uint32_t threads;
    enum phy_float_type type;
    uint64_t rows, cols;
    size_t region_bytes;
    const uint8_t *donor; /* (rows, cols) */
    uint8_t *codes;       /* (threads, rows, cols) */
    struct phy_flow_tile_result *tiles;
    enum phy_status status[MAX_SLOTS];
    uint64_t device_ns;
};

static void run_slot(void *user, size_t index, unsigned worker)
{
    struct flow_run *r = user;
    const struct phy_flow_params params = {.gain = 5, .beta = 2, .iterations = ITERATIONS, .block = BLOCK};
    uint64_t tiles = phy_flow_region_tile_count(r->rows, r->cols, BLOCK);
    struct phy_flow_region region = {.codes = r->codes + index * r->region_bytes,
                                     .type = r->type,
                                     .rows = r->rows,
                                     .cols = r->cols,
                                     .apply = true,
                                     .tiles = r->tiles + index * tiles};
    (void)worker;
    r->status[index] = phy_backend_flow(r->backend, (uint32_t)index, &params, &region);
}

static void prepare(void *user)
{
    struct flow_run *r = user;
    for (uint32_t i = 0; i < r->threads; i++)
        memcpy(r->codes + i * r->region_bytes, r->donor, r->region_bytes);
}

static enum phy_status run(void *user, uint64_t turn)
{
    struct flow_run *r = user;
    uint64_t before = 0, after = 0, dispatches;
    bool vulkan = strncmp(r->backend->name, "vulkan", 6) == 0;
    (void)turn;
    if (vulkan)
        phy_vk_backend_device_time(r->backend, &before, &dispatches);
    phy_pool_run(r->pool, r->threads, run_slot, r);
    if (vulkan)
        phy_vk_backend_device_time(r->backend, &after, &dispatches);
    r->device_ns = after - before;
    for (uint32_t i = 0; i < r->threads; i++) {
        if (r->status[i])
            return r->status[i];
    }
    return PHY_OK;
}

static double device_ns(void *user)
{
    return (double)((struct flow_run *)user)->device_ns;
}

struct flow_group {
    struct phy_bench_worker *w;
    const struct phy_bench_flow_case *flow;
    struct flow_run *run;
};

/* Of a Vulkan device twice: by the host's clock with upload, download and mask, and the shader alone. */
static void row_of(void *user, size_t index, struct phy_bench_row *out)
{
    const struct flow_group *g = user;
    const struct flow_run *r = g->run;
    const double weights = (double)r->rows * (double)r->cols * r->threads;
    *out = (struct phy_bench_row){
        .op = g->flow->op,
        .format = phy_bench_type_name((enum phy_weight_type)g->flow->type),
        .kernel = index ? "flow_tile:shader" : "flow_tile",
        .bytes = 2 * weights * (double)phy_float_bytes(g->flow->type), /* read, and written where one was killed */
        .operations = weights * ITERATIONS * OPERATIONS,
        .bandwidth = g->w->roofline.copy,
        .peak = g->w->roofline.f32,
        .clock = index ? "device" : "host",
        .threads = r->threads,
    };
    snprintf(out->shape, sizeof out->shape, "%ux%u", g->flow->rows, g->flow->cols);
}

static enum phy_status measure(struct phy_bench_worker *w, const struct phy_bench_flow_case *f, struct flow_run *r,
                               double budget_s)
{
    struct phy_bench_case *c = phy_zalloc(2, sizeof *c);
    if (!c)
        return phy_fail_memory(w->host, "cases", sizeof *c);
    phy_bench_say(w, "%s %s %ux%u, %u threads", f->op, phy_bench_type_name((enum phy_weight_type)f->type), f->rows,
                  f->cols, r->threads);
    const double begin = phy_seconds_now();
    enum phy_status status = run(r, 0);
    const double spent = phy_seconds_now() - begin;
    const bool clocked = status == PHY_OK && r->device_ns > 0;
    c[0] = (struct phy_bench_case){.user = r, .run = run, .prepare = prepare};
    c[1] = (struct phy_bench_case){.user = r, .run = run, .prepare = prepare, .device_ns = device_ns};
    struct flow_group group = {w, f, r};
    phy_bench_beat(w);
    if (status == PHY_OK)
        status = phy_bench_measure_group(w, &(struct phy_bench_group){.cases = c,
                                                                      .count = clocked ? 2 : 1,
                                                                      .row = row_of,
                                                                      .user = &group,
                                                                      .budget_s = budget_s - spent,
                                                                      .sample_s = 0.01,
                                                                      .rounds = 15,
                                                                      .may_leave_out = true});
    phy_free(c);
    return status;
}

enum phy_status phy_bench_flow_one(struct phy_bench_worker *w, const struct phy_bench_flow_case *f, double budget_s)
{
    struct phy_device_set set;
    enum phy_status status = phy_device_set_open(&set, w->device, f->threads, w->host);
    if (status)
        return status;
    struct flow_run *r = phy_zalloc(1, sizeof *r);
    uint8_t *donor = NULL;
    if (r) {
        r->backend = set.backends[0];
        r->pool = w->pool;
        r->threads = f->threads < r->backend->slot_count ? f->threads : r->backend->slot_count;
        r->threads = r->threads < MAX_SLOTS ? r->threads : MAX_SLOTS;
        r->type = f->type;
        r->rows = f->rows;
        r->cols = f->cols;
        r->region_bytes = (size_t)f->rows * f->cols * phy_float_bytes(f->type);
        donor = phy_alloc_aligned(r->region_bytes);
        r->donor = donor;
        r->codes = phy_alloc_aligned(r->region_bytes * r->threads);
        r->tiles =
            phy_alloc((size_t)phy_flow_region_tile_count(f->rows, f->cols, BLOCK) * r->threads, sizeof *r->tiles);
    }
    if (!r || !donor || !r->codes || !r->tiles) {
        status = phy_fail_memory(w->host, "tiles", (size_t)f->rows * f->cols);
    } else {
        phy_bench_fill((enum phy_weight_type)f->type, donor, r->region_bytes, 1);
        status = measure(w, f, r, budget_s);
    }
    if (r) {
        phy_free(r->codes);
        phy_free(r->tiles);
    }
    phy_free(donor);
    phy_free(r);
    phy_device_set_close(&set);
    return status;
}

enum phy_status phy_bench_run_flow(struct phy_bench_worker *w)
{
    struct phy_bench_shape shapes[PHY_BENCH_MAX_LIST];
    size_t count;
    bool look = strcmp(w->job.op, "look") == 0;
    const char *formats = look || !w->job.formats              ? "bf16"
                          : strcmp(w->job.formats, "all") == 0 ? "bf16,f16,f32"
                                                               : w->job.formats;
    const char *given = look ? NULL : w->job.shapes;
    enum phy_status status = phy_bench_parse_shapes(given          ? given
                                                    : w->job.quick ? "512x2048"
                                                                   : "2048x2048",
                                                    shapes, &count, w->host);
    size_t format_count = 0;
    char name[32];
    while (phy_bench_list_name(formats, format_count, name))
        format_count++;
    for (size_t i = 0; i < count && status == PHY_OK; i++) {
        for (size_t n = 0; phy_bench_list_name(formats, n, name) && status == PHY_OK; n++) {
            enum phy_weight_type type;
            if (!phy_bench_type_named(name, &type) || type >= PHY_WEIGHT_FLOAT_COUNT)
                return phy_fail(w->host, PHY_ERR_USAGE, "the flow prunes bf16, f16 and f32, not '%.32s'", name);
            const struct phy_bench_flow_case flow = {.op = "flow",
                                                     .type = (enum phy_float_type)type,
                                                     .rows = shapes[i].rows,
                                                     .cols = shapes[i].cols,
                                                     .threads = w->job.threads};
            double share = phy_bench_share(w, format_count * (count - i));
            if (phy_bench_spent(w))
                phy_bench_skip(w, "flow", name, NULL, "the budget is spent");
            else
                status = phy_bench_flow_one(w, &flow, share < 10 ? share : 10);
        }
    }
    return status;
}
