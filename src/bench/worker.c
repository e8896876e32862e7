/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include "bench/worker.h"

#include <cjson/cJSON.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/cpu_features.h"
#include "base/log.h"
#include "bench/machine.h"
#include "device/device_set.h"
#include "kernels/flow_tile.h"
#include "report/json.h"
#include "vk/vk_backend.h"

/* ---- messages ---- */

/* What memory does not suffice for is not sent; the parent sees a result less. */
static void send(struct phy_bench_worker *w, cJSON *message)
{
    if (message)
        w->emit(w->emit_user, message);
    cJSON_Delete(message);
}

void phy_bench_say(struct phy_bench_worker *w, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(w->said, sizeof w->said, format, args);
    va_end(args);
    w->said_at = phy_seconds_now();
    cJSON *message = cJSON_CreateObject();
    phy_json_string(message, "at", w->said);
    send(w, message);
}

void phy_bench_beat(void *worker)
{
    struct phy_bench_worker *w = worker;
    char text[sizeof w->said];
    if (phy_seconds_now() - w->said_at < 1)
        return;
    memcpy(text, w->said, sizeof text);
    phy_bench_say(w, "%s", text);
}

void phy_bench_skip(struct phy_bench_worker *w, const char *op, const char *format, const char *shape,
                    const char *reason)
{
    cJSON *message = cJSON_CreateObject(), *skipped = phy_json_object(message, "skipped");
    phy_json_string(skipped, "op", op);
    phy_json_string(skipped, "format", format);
    phy_json_string(skipped, "device", w->device);
    phy_json_string(skipped, "shape", shape);
    phy_json_string(skipped, "reason", reason);
    send(w, message);
}

static bool put_number(cJSON *to, const char *key, double value, bool known)
{
    return known && isfinite(value) ? phy_json_double(to, key, value) : phy_json_null(to, key);
}

static void put_samples(cJSON *to, const char *key, const double *samples, size_t count)
{
    cJSON *array = phy_json_array(to, key);
    for (size_t i = 0; array && i < count; i++)
        cJSON_AddItemToArray(array, cJSON_CreateNumber(samples[i] * 1e6));
}

/* What the roofs allow, in seconds: 0 where there is none. */
static double least_seconds(const struct phy_bench_row *row, const char **bound)
{
    double memory = row->bandwidth > 0 ? row->bytes / (row->bandwidth * 1e9) : 0;
    double arithmetic = row->peak > 0 ? row->operations / (row->peak * 1e9) : 0;
    *bound = memory <= 0 && arithmetic <= 0 ? NULL : arithmetic > memory ? "arithmetic" : "memory";
    return arithmetic > memory ? arithmetic : memory;
}

static void put_result(cJSON *message, const struct phy_bench_worker *w, const struct phy_bench_row *row,
                       const struct phy_bench_summary *s, double least)
{
    cJSON *result = phy_json_object(message, "result");
    phy_json_string(result, "op", row->op);
    phy_json_string(result, "format", row->format);
    phy_json_string(result, "device", w->device);
    phy_json_string(result, "kernel", row->kernel);
    phy_json_string(result, "shape", row->shape);
    if (row->x_rows)
        phy_json_count(result, "x_rows", row->x_rows);
    else
        phy_json_null(result, "x_rows");
    phy_json_bool(result, "cold", row->cold);
    phy_json_double(result, "median_us", s->median * 1e6);
    phy_json_double(result, "q1_us", s->q1 * 1e6);
    phy_json_double(result, "q3_us", s->q3 * 1e6);
    put_number(result, "gb_per_s", row->bytes / s->median * 1e-9, row->bytes > 0);
    put_number(result, "share_of_roofline", least / s->median, least > 0);
    put_number(result, "arithmetic_intensity", row->operations / row->bytes, row->bytes > 0 && row->operations > 0);
}

static void put_measurement(cJSON *message, const struct phy_bench_row *row, const struct phy_bench_case *c,
                            const struct phy_bench_summary *s, const char *bound)
{
    cJSON *m = phy_json_object(message, "measurement");
    phy_json_double(m, "best_us", s->best * 1e6);
    phy_json_count(m, "rounds", s->count);
    put_samples(m, "samples_us", c->samples, c->count);
    phy_json_string(m, "clock", row->clock);
    if (c->device_ns) {
        struct phy_bench_summary host;
        double sorted[PHY_BENCH_MAX_ROUNDS];
        memcpy(sorted, c->host_samples, sizeof sorted);
        phy_bench_summarise(sorted, c->count, &host);
        phy_json_double(m, "host_median_us", host.median * 1e6);
    }
    phy_json_count(m, "threads", row->threads);
    put_number(m, "bytes", row->bytes, row->bytes > 0);
    put_number(m, "operations", row->operations, row->operations > 0);
    put_number(m, "g_operations_per_s", row->operations / s->median * 1e-9, row->operations > 0);
    put_number(m, "processors_busy", c->cpu_share, true);
    phy_json_string(m, "bound", bound);
    put_number(m, "roof_gb_per_s", row->bandwidth, row->bandwidth > 0);
    put_number(m, "roof_g_operations_per_s", row->peak, row->peak > 0);
    if (row->peak_rss_bytes)
        phy_json_count(m, "peak_rss_bytes", row->peak_rss_bytes);
    struct phy_bench_ratio ratio;
    if (row->beside_count && phy_bench_ratio(row->beside_samples, row->beside_count, c->samples, c->count, 1, &ratio)) {
        cJSON *beside = phy_json_object(m, "beside");
        phy_json_string(beside, "name", row->beside);
        put_samples(beside, "samples_us", row->beside_samples, row->beside_count);
        phy_json_double(beside, "ratio", ratio.ratio);
        phy_json_double(beside, "ratio_low", ratio.low);
        phy_json_double(beside, "ratio_high", ratio.high);
    }
}

void phy_bench_report_case(struct phy_bench_worker *w, const struct phy_bench_row *row, struct phy_bench_case *c)
{
    if (c->status || c->count == 0) {
        phy_bench_skip(w, row->op, row->format, row->shape,
                       c->status ? phy_status_name(c->status) : "no time was measured");
        return;
    }
    double sorted[PHY_BENCH_MAX_ROUNDS];
    struct phy_bench_summary summary;
    const char *bound;
    w->measured = true;
    memcpy(sorted, c->samples, c->count * sizeof *sorted);
    phy_bench_summarise(sorted, c->count, &summary);
    double least = least_seconds(row, &bound);
    cJSON *message = cJSON_CreateObject();
    put_result(message, w, row, &summary, least);
    put_measurement(message, row, c, &summary, bound);
    send(w, message);
}

/* ---- budget and roofs ---- */

double phy_bench_share(const struct phy_bench_worker *w, size_t groups)
{
    double left = w->deadline - phy_seconds_now();
    return left > 0 ? left / (double)(groups ? groups : 1) : 0;
}

bool phy_bench_spent(const struct phy_bench_worker *w)
{
    return w->measured && phy_seconds_now() >= w->deadline;
}

double phy_bench_bandwidth_of(const struct phy_bench_roofline *roofline, double set_bytes, bool cold)
{
    if (cold)
        return roofline->read;
    for (size_t i = 0; i < roofline->point_count; i++) {
        if ((double)roofline->points[i].bytes >= set_bytes)
            return roofline->points[i].read;
    }
    return roofline->read;
}

/* ---- one device ---- */

static enum phy_status list_devices(struct phy_bench_worker *w)
{
    struct phy_device_info *devices;
    size_t count;
    char note[PHY_VK_NOTE_BYTES];
    enum phy_status status = phy_vk_list(&devices, &count, note, w->host);
    if (status)
        return status;
    cJSON *message = cJSON_CreateObject(), *found = phy_json_array(message, "found");
    for (size_t i = 0; i < count; i++)
        cJSON_AddItemToArray(found, cJSON_CreateString(devices[i].name));
    phy_json_string(message, "note", note);
    send(w, message);
    phy_free(devices);
    return PHY_OK;
}

static enum phy_status resolve(struct phy_bench_worker *w)
{
    const char *spec = w->job.device;
    struct phy_cpu_features have = phy_cpu_detect();
    w->is_cpu = strncmp(spec, "cpu", 3) == 0;
    if (!w->is_cpu) {
        enum phy_status status = phy_device_find_vulkan(&w->vulkan_index, spec, w->host);
        snprintf(w->device, sizeof w->device, "vulkan:%u", w->vulkan_index);
        return status;
    }
    const struct phy_flow_variant *form = spec[3] == ':' ? phy_flow_variant_named(spec + 4) : NULL;
    if (strcmp(spec, "cpu") == 0)
        form = phy_flow_variant_best(&have);
    if (!form)
        return phy_fail(w->host, PHY_ERR_USAGE, "device \"%.64s\": not one of cpu[:FORM], vulkan[:N|:NAME], all", spec);
    if (!phy_cpu_meets(&have, &form->needs))
        return phy_fail(w->host, PHY_ERR_DEVICE, "device %s: this processor (%s) does not have the instructions", spec,
                        phy_cpu_model());
    snprintf(w->device, sizeof w->device, "cpu:%s", form->name);
    return PHY_OK;
}

/* A bit of each, for a first look: products take most of the time. */
static enum phy_status look(struct phy_bench_worker *w)
{
    const double deadline = w->deadline;
    w->deadline = phy_seconds_now() + 0.25 * (deadline - phy_seconds_now());
    enum phy_status status = phy_bench_run_flow(w);
    w->deadline = deadline;
    w->measured = false;
    if (status == PHY_OK)
        status = phy_bench_run_products(w, true);
    return status;
}

static enum phy_status run_op(struct phy_bench_worker *w)
{
    static const struct {
        const char *name;
        enum phy_status (*run)(struct phy_bench_worker *w);
    } ops[] = {
        {"look", look},
        {"flow", phy_bench_run_flow},
        {"surgery", phy_bench_run_surgery},
        {"generate", phy_bench_run_generate},
        {"scaling", phy_bench_run_scaling},
    };
    for (size_t i = 0; i < sizeof ops / sizeof *ops; i++) {
        if (strcmp(ops[i].name, w->job.op) == 0)
            return ops[i].run(w);
    }
    if (strcmp(w->job.op, "copy") == 0)
        return w->is_cpu ? phy_bench_run_files(w) : PHY_OK;
    if (strcmp(w->job.op, "ffn") == 0 || strcmp(w->job.op, "matmul") == 0)
        return phy_bench_run_products(w, w->job.op[0] == 'f');
    return phy_fail(w->host, PHY_ERR_USAGE, "no benchmark '%.32s'", w->job.op);
}

static enum phy_status work(struct phy_bench_worker *w)
{
    if (strcmp(w->job.op, "list") == 0)
        return list_devices(w);
    bool known;
    w->cache_bytes = phy_machine_cache_bytes(&known);
    phy_bench_say(w, "opening");
    enum phy_status status = resolve(w);
    if (status)
        return status;
    if (w->is_cpu)
        phy_machine_confine(w->job.threads);
    w->pool = phy_pool_create(w->job.threads);
    if (!w->pool)
        return phy_fail(w->host, PHY_ERR_MEMORY, "out of memory: %u threads", w->job.threads);
    bool rows = strcmp(w->job.op, "copy") == 0 || strcmp(w->job.op, "look") == 0;
    status = w->is_cpu ? phy_bench_cpu_roofline(w, rows) : phy_bench_vulkan_roofline(w, rows);
    w->measured = false;
    if (status == PHY_OK)
        status = run_op(w);
    phy_pool_destroy(w->pool);
    return status;
}

enum phy_status phy_bench_work(const struct phy_bench_job *job, phy_bench_emit *emit, void *user,
                               const struct phy_host *host)
{
    struct phy_bench_worker *w = phy_zalloc(1, sizeof *w);
    if (!w)
        return phy_fail_memory(host, "a worker", sizeof *w);
    w->job = *job;
    w->host = host;
    w->emit = emit;
    w->emit_user = user;
    w->deadline = phy_seconds_now() + job->budget_s;
    enum phy_status status = work(w);
    cJSON *message = cJSON_CreateObject();
    phy_json_count(message, "status", (uint64_t)status);
    send(w, message);
    phy_free(w);
    return status;
}
