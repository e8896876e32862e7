/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include "bench/worker.h"

#include <cjson/cJSON.h>
#include <math.h>
#include <pthread.h>
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
#include "vk/vk_matmul.h"

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

double phy_bench_least_seconds(const struct phy_bench_row *row, const char **bound)
{
    double memory = row->bandwidth > 0 ? row->bytes / (row->bandwidth * 1e9) : 0;
    double arithmetic = row->peak > 0 ? row->operations / (row->peak * 1e9) : 0;
    *bound = memory <= 0 && arithmetic <= 0 ? NULL : arithmetic > memory ? "arithmetic" : "memory";
    return arithmetic > memory ? arithmetic : memory;
}

static void put_x_rows(cJSON *to, uint64_t x_rows)
{
    if (x_rows)
        phy_json_count(to, "x_rows", x_rows);
    else
        phy_json_null(to, "x_rows");
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
    put_x_rows(result, row->x_rows);
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
    if (c->first_run_only)
        phy_json_bool(m, "first_run_only", true);
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

static void put_skipped(cJSON *message, const struct phy_bench_worker *w, const struct phy_bench_row *row,
                        const char *reason)
{
    cJSON *skipped = phy_json_object(message, "skipped");
    phy_json_string(skipped, "op", row->op);
    phy_json_string(skipped, "format", row->format);
    phy_json_string(skipped, "device", w->device);
    phy_json_string(skipped, "kernel", row->kernel);
    phy_json_string(skipped, "shape", row->shape[0] ? row->shape : NULL);
    put_x_rows(skipped, row->x_rows);
    if (row->clock)
        phy_json_bool(skipped, "cold", row->cold);
    else
        phy_json_null(skipped, "cold");
    phy_json_string(skipped, "reason", reason);
}

void phy_bench_skip_row(struct phy_bench_worker *w, const struct phy_bench_row *row, const char *reason)
{
    cJSON *message = cJSON_CreateObject();
    put_skipped(message, w, row, reason);
    send(w, message);
}

void phy_bench_skip(struct phy_bench_worker *w, const char *op, const char *format, const char *shape,
                    const char *reason)
{
    struct phy_bench_row row = {.op = op, .format = format};
    snprintf(row.shape, sizeof row.shape, "%s", shape ? shape : "");
    phy_bench_skip_row(w, &row, reason);
}

/* What is to be said of a case, to the message. */
static void put_case(cJSON *message, struct phy_bench_worker *w, const struct phy_bench_row *row,
                     const struct phy_bench_case *c, const char *why_not)
{
    if (c->count == 0 || c->status) {
        put_skipped(message, w, row, c->why[0] ? c->why : c->status ? phy_status_name(c->status) : why_not);
        return;
    }
    double sorted[PHY_BENCH_MAX_ROUNDS];
    struct phy_bench_summary summary;
    const char *bound;
    memcpy(sorted, c->samples, c->count * sizeof *sorted);
    phy_bench_summarise(sorted, c->count, &summary);
    put_result(message, w, row, &summary, phy_bench_least_seconds(row, &bound));
    put_measurement(message, row, c, &summary, bound);
}

void phy_bench_report_case(struct phy_bench_worker *w, const struct phy_bench_row *row, const struct phy_bench_case *c)
{
    w->measured = w->measured || (c->count && !c->status);
    cJSON *message = cJSON_CreateObject();
    put_case(message, w, row, c, "no time was measured");
    send(w, message);
}

/* ---- groups ---- */

struct watch {
    struct phy_bench_worker *w;
    const struct phy_bench_group *group;
    size_t *told; /* samples of each case that the parent knows of */
    double told_at;
};

/* "draft" or "settles". */
static void tell(struct watch *watch, size_t index, const char *as)
{
    struct phy_bench_row row = {0};
    cJSON *message = cJSON_CreateObject();
    watch->group->row(watch->group->user, index, &row);
    phy_json_count(message, as, index);
    put_case(message, watch->w, &row, &watch->group->cases[index], "the device's process ended before its first round");
    send(watch->w, message);
    watch->told[index] = watch->group->cases[index].count;
}

/* A case's first sample is told at once, and others once a second. */
static void keep_told(void *user)
{
    struct watch *watch = user;
    const bool due = phy_seconds_now() - watch->told_at >= 1;
    for (size_t i = 0; i < watch->group->count; i++) {
        const size_t count = watch->group->cases[i].count;
        if (count > watch->told[i] && (due || watch->told[i] == 0))
            tell(watch, i, "draft");
    }
    if (due)
        watch->told_at = phy_seconds_now();
    phy_bench_beat(watch->w);
}

enum phy_status phy_bench_measure_group(struct phy_bench_worker *w, const struct phy_bench_group *group)
{
    if (group->count == 0)
        return PHY_OK;
    struct watch watch = {w, group, phy_zalloc(group->count, sizeof *watch.told), phy_seconds_now()};
    if (!watch.told)
        return phy_fail_memory(w->host, "a group", group->count * sizeof *watch.told);
    for (size_t i = 0; i < group->count; i++)
        tell(&watch, i, "draft");
    enum phy_status status = phy_bench_measure(group->cases, group->count,
                                               &(struct phy_bench_plan){.budget_s = group->budget_s,
                                                                        .may_leave_out = group->may_leave_out,
                                                                        .one_at_least = !w->measured,
                                                                        .longest_s = w->job.timeout_s,
                                                                        .rounds = group->rounds,
                                                                        .sample_s = group->sample_s,
                                                                        .host = w->host,
                                                                        .beat = keep_told,
                                                                        .beat_user = &watch});
    for (size_t i = 0; i < group->count && status == PHY_OK; i++) {
        const struct phy_bench_case *c = &group->cases[i];
        w->measured = w->measured || (c->count && !c->status);
        tell(&watch, i, "settles");
    }
    phy_free(watch.told);
    return status;
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
        struct phy_vulkan_spec read;
        char form[PHY_VK_FORM_BYTES];
        enum phy_status status = phy_device_find_vulkan(&w->vulkan_index, &read, spec, w->host);
        snprintf(w->device, sizeof w->device, "vulkan:%u%s", w->vulkan_index,
                 phy_vk_matmul_form(form, read.tiles, read.dots));
        if (status == PHY_OK && (read.tiles || read.dots)) { /* what it lacks is said before anything is measured */
            struct phy_matmul_backend *backend;
            status = phy_matmul_backend_open(&backend, w->device, false, NULL, w->host);
            phy_matmul_backend_destroy(&backend);
        }
        return status;
    }
    const struct phy_flow_variant *form = spec[3] == ':' ? phy_flow_variant_named(spec + 4) : NULL;
    if (strcmp(spec, "cpu") == 0)
        form = phy_flow_variant_best(&have);
    if (!form)
        return phy_fail(w->host, PHY_ERR_USAGE, "device \"%.64s\": not one of cpu[:FORM], vulkan[:N|:NAME][/FORM], all",
                        spec);
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
    w->cache_bytes = phy_cpu_cache_bytes(&known);
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

/* The last error is held until it is known whether it ended the work: whoever gave the job says it then. */
struct last_error {
    struct phy_host host;
    const struct phy_host *to;
    pthread_mutex_t lock;
    char line[PHY_LOG_LINE_BYTES];
};

static void forward(const struct phy_host *to, enum phy_log_level level, const char *line)
{
    if (*line && to && to->log)
        to->log(to->user, level, line);
}

static void hold_error(void *user, enum phy_log_level level, const char *line)
{
    struct last_error *last = user;
    pthread_mutex_lock(&last->lock);
    if (level == PHY_LOG_ERROR) {
        forward(last->to, level, last->line);
        snprintf(last->line, sizeof last->line, "%s", line);
    } else {
        forward(last->to, level, line);
    }
    pthread_mutex_unlock(&last->lock);
}

static void pass_progress(void *user, const struct phy_progress *at)
{
    const struct phy_host *to = ((const struct last_error *)user)->to;
    if (to && to->progress)
        to->progress(to->user, at);
}

static bool pass_cancelled(void *user)
{
    return phy_cancelled(((const struct last_error *)user)->to);
}

enum phy_status phy_bench_work(const struct phy_bench_job *job, phy_bench_emit *emit, void *user,
                               const struct phy_host *host)
{
    struct last_error last = {
        .host = {.user = &last, .log = hold_error, .progress = pass_progress, .cancelled = pass_cancelled}, .to = host};
    struct phy_bench_worker *w = phy_zalloc(1, sizeof *w);
    if (!w)
        return phy_fail_memory(host, "a worker", sizeof *w);
    pthread_mutex_init(&last.lock, NULL);
    w->job = *job;
    w->host = &last.host;
    w->emit = emit;
    w->emit_user = user;
    w->deadline = phy_seconds_now() + job->budget_s;
    enum phy_status status = work(w);
    cJSON *message = cJSON_CreateObject();
    phy_json_count(message, "status", (uint64_t)status);
    if (status == PHY_OK)
        forward(host, PHY_LOG_ERROR, last.line);
    else if (last.line[0])
        cJSON_AddStringToObject(message, "error", last.line);
    send(w, message);
    pthread_mutex_destroy(&last.lock);
    phy_free(w);
    return status;
}
