/* SPDX-License-Identifier: Apache-2.0 */
/* The parent: which devices, one child for each, one document of what they say. */
#include "physarium/bench.h"

#include <cjson/cJSON.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/cpu_features.h"
#include "base/io.h"
#include "base/log.h"
#include "base/whole_file.h"
#include "bench/build_info.h"
#include "bench/machine.h"
#include "bench/matrices.h"
#include "bench/peer.h"
#include "bench/worker_process.h"
#include "device/device_set.h"
#include "physarium/version.h"
#include "report/bench_report.h"
#include "report/json.h"

enum { MAX_DEVICES = 64, DEVICE_BYTES = 128 };

struct phy_bench_report {
    cJSON *root;
};

struct devices {
    char names[MAX_DEVICES][DEVICE_BYTES];
    size_t count;
    char note[512];
};

/* ---- the document ---- */

static void take_message(void *user, cJSON *message)
{
    static const struct {
        const char *from, *to;
    } members[] = {
        {"device", "devices"}, {"result", "results"}, {"measurement", "measurements"}, {"skipped", "skipped"}};
    cJSON *root = user;
    for (size_t i = 0; i < sizeof members / sizeof *members; i++) {
        cJSON *item = cJSON_DetachItemFromObjectCaseSensitive(message, members[i].from);
        if (item && !cJSON_AddItemToArray(cJSON_GetObjectItemCaseSensitive(root, members[i].to), item))
            cJSON_Delete(item);
    }
}

static void add_failure(cJSON *root, const char *device, const char *reason)
{
    cJSON *failed = phy_json_item(cJSON_GetObjectItemCaseSensitive(root, "failed"));
    phy_json_string(failed, "device", device);
    phy_json_string(failed, "reason", reason);
}

/* It was checked. */
static double sparsity_of(const struct phy_bench_params *p)
{
    double sparsity;
    phy_bench_parse_sparsity(p->sparsity, &sparsity, p->host);
    return sparsity;
}

static bool begin_document(cJSON *root, const struct phy_bench_params *p, uint32_t threads)
{
    cJSON *program, *settings;
    return phy_json_count(root, "schema", PHY_BENCH_SCHEMA) && phy_json_string(root, "kind", "physarium bench") &&
           (program = phy_json_object(root, "program")) != NULL && phy_json_string(program, "version", phy_version()) &&
           phy_json_string(program, "compiler", phy_build_compiler) &&
           phy_json_string(program, "flags", phy_build_flags) && phy_machine_describe(root) &&
           (settings = phy_json_object(root, "settings")) != NULL &&
           phy_json_string(settings, "op", p->op ? p->op : "look") && phy_json_count(settings, "threads", threads) &&
           phy_json_string(settings, "pinning",
                           "each device's process is confined to as many processors as it has threads; the system "
                           "places the threads among them") &&
           phy_json_bool(settings, "quick", p->quick) && phy_json_double(settings, "sparsity", sparsity_of(p)) &&
           phy_json_array(root, "devices") && phy_json_array(root, "results") && phy_json_array(root, "measurements") &&
           phy_json_array(root, "skipped") && phy_json_array(root, "failed");
}

static bool end_document(cJSON *root, const struct phy_machine_moment *before, const struct phy_machine_moment *after)
{
    struct phy_machine_conditions c;
    phy_machine_judge(before, after, phy_cpu_count(), &c);
    cJSON *conditions = phy_json_object(root, "conditions");
    if (!conditions)
        return false;
    bool ok = phy_json_bool(conditions, "known", c.known) && phy_json_bool(conditions, "busy", c.busy) &&
              phy_json_string(conditions, "reason", c.reason[0] ? c.reason : NULL);
    if (c.known)
        ok = ok && phy_json_double(conditions, "steal_share", c.steal_share) &&
             phy_json_double(conditions, "others_share", c.others_share);
    if (before->load >= 0 && after->load >= 0)
        ok = ok && phy_json_double(conditions, "load_before", before->load) &&
             phy_json_double(conditions, "load_after", after->load);
    return ok && phy_json_seconds(conditions, "seconds", after->at - before->at);
}

/* What was added here is text that is JSON already; read back it is like the rest. */
static bool settle(cJSON **root)
{
    char *text = cJSON_PrintUnformatted(*root);
    cJSON *read = text ? cJSON_Parse(text) : NULL;
    cJSON_free(text);
    if (!read)
        return false;
    cJSON_Delete(*root);
    *root = read;
    return true;
}

/* ---- which devices ---- */

static void take_found(void *user, cJSON *message)
{
    struct devices *d = user;
    const cJSON *name;
    const char *note = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(message, "note"));
    if (note)
        snprintf(d->note, sizeof d->note, "%s", note);
    cJSON_ArrayForEach(name, cJSON_GetObjectItemCaseSensitive(message, "found"))
    {
        if (cJSON_IsString(name) && d->count < MAX_DEVICES)
            snprintf(d->names[d->count++], DEVICE_BYTES, "%s", name->valuestring);
    }
}

/* A loader or driver that hangs when devices are listed is its child's trouble, too. */
static enum phy_status list_vulkan(const struct phy_bench_params *p, double timeout_s, struct devices *d, cJSON *root)
{
    char op[] = "list", device[] = "vulkan", failure[PHY_BENCH_FAILURE_BYTES];
    const struct phy_bench_job job = {.op = op, .device = device, .threads = 1, .budget_s = timeout_s};
    enum phy_status status = phy_bench_run_job(p->worker, &job, timeout_s, take_found, d, p->host, failure);
    if (status == PHY_ERR_INTERRUPTED)
        return phy_fail(p->host, status, "interrupted");
    if (status == PHY_ERR_MEMORY)
        return status;
    if (status)
        add_failure(root, "vulkan", failure);
    if (d->note[0])
        phy_json_string(root, "vulkan_note", d->note);
    return PHY_OK;
}

/* Of "cpu[:FORM]" or "vulkan[:N|:NAME][/FORM]"; a form of products only where there are products alone. */
static enum phy_status check_device(const struct phy_bench_params *p, const char *name, size_t length)
{
    char form[DEVICE_BYTES];
    snprintf(form, sizeof form, "%.*s", (int)length, name);
    const bool cpu = strcmp(form, "cpu") == 0 || (strncmp(form, "cpu:", 4) == 0 && phy_flow_variant_named(form + 4));
    struct phy_vulkan_spec read = {0};
    if (!cpu && !phy_device_is_vulkan(name, length))
        return phy_fail(p->host, PHY_ERR_USAGE, "device \"%.*s\": not one of cpu[:FORM], vulkan[:N|:NAME][/FORM], all",
                        (int)length, name);
    enum phy_status status = cpu ? PHY_OK : phy_vulkan_spec_read(&read, name, length, p->host);
    const bool products =
        p->op && (strcmp(p->op, "matmul") == 0 || strcmp(p->op, "ffn") == 0 || strcmp(p->op, "generate") == 0);
    if (status == PHY_OK && (read.tiles || read.dots) && !products)
        return phy_fail(p->host, PHY_ERR_USAGE,
                        "device \"%.*s\": a form after a slash is for bench matmul, ffn and generate alone",
                        (int)length, name);
    return status;
}

static enum phy_status choose_devices(const struct phy_bench_params *p, double timeout_s, struct devices *d,
                                      cJSON *root)
{
    const char *at = p->device ? p->device : "all";
    do {
        size_t length = strcspn(at, ",");
        if (length == 0 || length >= DEVICE_BYTES || d->count == MAX_DEVICES)
            return phy_fail(p->host, PHY_ERR_USAGE, "device list '%.64s': names with commas between them", p->device);
        if (length == 3 && strncmp(at, "all", 3) == 0) {
            snprintf(d->names[d->count++], DEVICE_BYTES, "cpu");
            enum phy_status status = list_vulkan(p, timeout_s, d, root);
            if (status)
                return status;
        } else {
            enum phy_status status = check_device(p, at, length);
            if (status)
                return status;
            snprintf(d->names[d->count++], DEVICE_BYTES, "%.*s", (int)length, at);
        }
        at += length + (at[length] == ',');
    } while (*at);
    return PHY_OK;
}

/* ---- the run ---- */

/* Each name before anything is measured: a device's child would say it only after the rooflines. */
static enum phy_status check_formats(const char *list, const struct phy_host *host)
{
    char name[32];
    size_t names = 0, wanted = 1;
    if (strcmp(list, "all") == 0)
        return PHY_OK;
    for (; phy_bench_list_name(list, names, name); names++) {
        enum phy_weight_type type;
        if (!phy_bench_type_named(name, &type))
            return phy_fail(host, PHY_ERR_USAGE, PHY_BENCH_NO_FORMAT, name);
    }
    for (const char *at = list; *at; at++)
        wanted += *at == ',';
    return names == wanted ? PHY_OK
                           : phy_fail(host, PHY_ERR_USAGE, "formats '%.64s': a name is empty or too long", list);
}

/* A share of zeros is of bitmaps; "all", and no list, has them. */
static enum phy_status check_sparsity(const struct phy_bench_params *p)
{
    double sparsity;
    char name[32];
    enum phy_weight_type type;
    bool taken = !p->sparsity || !p->formats || strcmp(p->formats, "all") == 0;
    for (size_t i = 0; !taken && phy_bench_list_name(p->formats, i, name); i++)
        taken = phy_bench_type_named(name, &type) && phy_weight_is_bitmap(type);
    return taken ? phy_bench_parse_sparsity(p->sparsity, &sparsity, p->host)
                 : phy_fail(p->host, PHY_ERR_USAGE, "--sparsity is of bitmaps, and '%.64s' has none", p->formats);
}

/* A number of features that no shape has; what only some have is left out of the others and told. */
static enum phy_status check_top_k(const struct phy_bench_params *p, const struct phy_bench_shape *shapes,
                                   size_t shape_count)
{
    struct phy_bench_top_k top_k[PHY_BENCH_MAX_TOP_K];
    size_t count = 0;
    uint32_t most = 0;
    enum phy_status status = p->top_k ? phy_bench_parse_top_k(p->top_k, top_k, &count, p->host) : PHY_OK;
    for (size_t i = 0; i < shape_count; i++)
        most = shapes[i].cols > most ? shapes[i].cols : most;
    for (size_t i = 0; i < count && shape_count && status == PHY_OK; i++) {
        if (!top_k[i].percent && top_k[i].value > most)
            status = phy_fail(p->host, PHY_ERR_USAGE, "--top-k %u: an ffn of %.64s has %u features", top_k[i].value,
                              p->shapes, most);
    }
    return status;
}

/* What a benchmark takes no notice of it does not take. Without one, all that products have may be given. */
static enum phy_status check_taken(const struct phy_bench_params *p)
{
    static const char products[] = " ffn matmul ";
    const struct {
        const char *option, *given, *ops;
    } some[] = {
        {"--format", p->formats, " ffn matmul flow scaling "},
        {"--shape", p->shapes, " ffn matmul flow "},
        {"--rows", p->rows, products},
        {"--sparsity", p->sparsity, products},
        {"--cold", p->cold ? "" : NULL, products},
        {"--warm", p->warm ? "" : NULL, products},
    };
    char op[32];
    snprintf(op, sizeof op, " %s ", p->op ? p->op : "ffn");
    for (size_t i = 0; i < sizeof some / sizeof *some; i++) {
        if (some[i].given && !strstr(some[i].ops, op))
            return phy_fail(p->host, PHY_ERR_USAGE, "bench %s takes no %s", p->op, some[i].option);
    }
    if (p->top_k && (!p->op || strcmp(p->op, "ffn") != 0))
        return phy_fail(p->host, PHY_ERR_USAGE, "--top-k is of bench ffn: the features of its sparse path");
    return PHY_OK;
}

static enum phy_status check(const struct phy_bench_params *p)
{
    static const char *const ops[] = {"flow", "ffn", "matmul", "copy", "surgery", "generate", "scaling"};
    struct phy_bench_shape shapes[PHY_BENCH_MAX_LIST];
    uint32_t rows[PHY_BENCH_MAX_LIST];
    size_t count, shape_count = 0, i = 0;
    enum phy_status status = PHY_OK;
    while (p->op && i < sizeof ops / sizeof *ops && strcmp(ops[i], p->op) != 0)
        i++;
    if (p->op && i == sizeof ops / sizeof *ops)
        return phy_fail(p->host, PHY_ERR_USAGE,
                        "no benchmark '%.64s': flow, ffn, matmul, copy, surgery, generate, scaling, compare", p->op);
    if (p->op && strcmp(p->op, "generate") == 0 && !p->input)
        return phy_fail(p->host, PHY_ERR_USAGE, "bench generate needs a model directory");
    status = check_taken(p);
    if (status == PHY_OK && p->formats)
        status = check_formats(p->formats, p->host);
    if (status == PHY_OK && p->shapes)
        status = phy_bench_parse_shapes(p->shapes, shapes, &shape_count, p->host);
    if (status == PHY_OK && p->rows)
        status = phy_bench_parse_numbers(p->rows, rows, &count, p->host);
    if (status == PHY_OK)
        status = check_top_k(p, shapes, shape_count);
    if (status == PHY_OK)
        status = check_sparsity(p);
    if (status == PHY_OK && (p->budget_s < 0 || p->timeout_s < 0))
        status = phy_fail(p->host, PHY_ERR_USAGE, "seconds are more than 0");
    return status;
}

/* What a device's child is asked; the texts stay the caller's. */
static struct phy_bench_job job_of(const struct phy_bench_params *p, uint32_t threads)
{
    return (struct phy_bench_job){
        .op = (char *)(p->op ? p->op : "look"),
        .formats = (char *)p->formats,
        .shapes = (char *)p->shapes,
        .rows = (char *)p->rows,
        .top_k = (char *)p->top_k,
        .donor = (char *)p->input,
        .scratch = (char *)p->scratch,
        .threads = threads,
        .cold = p->cold || !p->warm,
        .warm = p->warm || !p->cold,
        .quick = p->quick,
        .sparsity = sparsity_of(p),
    };
}

static enum phy_status measure_devices(const struct phy_bench_params *p, const struct devices *d, uint32_t threads,
                                       double timeout_s, cJSON *root)
{
    struct phy_bench_job job = job_of(p, threads);
    double budget = p->budget_s > 0 ? p->budget_s : p->quick ? 12 : 110;
    double end = phy_seconds_now() + budget;
    enum phy_status worst = PHY_OK;
    for (size_t i = 0; i < d->count; i++) {
        char failure[PHY_BENCH_FAILURE_BYTES];
        double left = (end - phy_seconds_now()) / (double)(d->count - i);
        job.device = (char *)d->names[i];
        job.budget_s = left > 0.5 ? left : 0.5;
        job.timeout_s = timeout_s;
        phy_report_progress(p->host, "bench", "devices", i, d->count);
        enum phy_status status = phy_bench_run_job(p->worker, &job, timeout_s, take_message, root, p->host, failure);
        if (status == PHY_ERR_INTERRUPTED) {
            add_failure(root, d->names[i], failure);
            return phy_fail(p->host, status, "interrupted");
        }
        if (status == PHY_OK)
            continue;
        if (i == 0 && phy_bench_is_about_input(&job, status))
            return status; /* its sentence was logged, and the others would fail alike */
        add_failure(root, d->names[i], failure);
        worst = status == PHY_ERR_USAGE && worst == PHY_OK ? status : worst == PHY_OK ? PHY_ERR_DEVICE : worst;
    }
    phy_report_progress(p->host, "bench", "devices", d->count, d->count);
    return worst;
}

static enum phy_status run(const struct phy_bench_params *p, cJSON **document)
{
    cJSON *root = *document;
    double timeout_s = p->timeout_s > 0 ? p->timeout_s : 60;
    uint32_t threads = p->threads && p->threads <= 4096 ? p->threads : phy_cpu_count();
    struct phy_machine_moment before, after;
    struct devices *devices = phy_zalloc(1, sizeof *devices);
    if (!devices || !begin_document(root, p, threads)) {
        phy_free(devices);
        return phy_fail_memory(p->host, "a report", sizeof *devices);
    }
    phy_machine_look(&before);
    enum phy_status status = choose_devices(p, timeout_s, devices, root);
    if (status == PHY_OK)
        status = measure_devices(p, devices, threads, timeout_s, root);
    phy_machine_look(&after);
    phy_free(devices);
    if (!end_document(root, &before, &after) || !settle(document))
        return phy_fail_memory(p->host, "a report", sizeof before);
    root = *document;
    if (status == PHY_OK && cJSON_GetArraySize(cJSON_GetObjectItemCaseSensitive(root, "failed")) > 0)
        status = PHY_ERR_DEVICE;
    if ((status == PHY_OK || status == PHY_ERR_DEVICE) && p->peer) {
        enum phy_status joined = phy_bench_join_peer(root, p->peer, p->host);
        status = joined ? joined : status;
    }
    return status;
}

enum phy_status phy_bench_run(const struct phy_bench_params *params, struct phy_bench_report **out)
{
    *out = NULL;
    enum phy_status status = check(params);
    if (status)
        return status;
    struct phy_bench_report *report = phy_zalloc(1, sizeof *report);
    if (report)
        report->root = cJSON_CreateObject();
    if (!report || !report->root) {
        phy_free(report);
        return phy_fail_memory(params->host, "a report", sizeof *report);
    }
    status = run(params, &report->root);
    if (status == PHY_OK || status == PHY_ERR_DEVICE || status == PHY_ERR_INTERRUPTED)
        *out = report;
    else
        phy_bench_report_close(&report);
    return status;
}

void phy_bench_report_close(struct phy_bench_report **report)
{
    if (*report)
        cJSON_Delete((*report)->root);
    phy_free(*report);
    *report = NULL;
}

size_t phy_bench_report_count(const struct phy_bench_report *report, size_t *failed)
{
    *failed = (size_t)cJSON_GetArraySize(cJSON_GetObjectItemCaseSensitive(report->root, "failed"));
    return (size_t)cJSON_GetArraySize(cJSON_GetObjectItemCaseSensitive(report->root, "results"));
}

/* ---- its forms ---- */

char *phy_bench_report_text(const struct phy_bench_report *report, enum phy_bench_form form)
{
    static void (*const puts_of[])(struct phy_text *, const cJSON *) = {
        [PHY_BENCH_TABLE] = phy_bench_put_table,       [PHY_BENCH_CSV] = phy_bench_put_csv,
        [PHY_BENCH_MARKDOWN] = phy_bench_put_markdown, [PHY_BENCH_HTML] = phy_bench_put_html,
        [PHY_BENCH_JUNIT] = phy_bench_put_junit,
    };
    struct phy_text text = {0};
    if (form == PHY_BENCH_JSON) {
        char *json = cJSON_Print(report->root);
        phy_text_put(&text, json ? json : "");
        phy_text_put(&text, "\n");
        text.failed = text.failed || !json;
        cJSON_free(json);
    } else {
        puts_of[form](&text, report->root);
        phy_text_put(&text, "");
    }
    if (text.failed) {
        phy_text_free(&text);
        return NULL;
    }
    return text.data;
}

void phy_bench_text_free(char *text)
{
    phy_free(text);
}

static int write_text(const void *user, int fd)
{
    return phy_write_all(fd, user, strlen(user));
}

enum phy_status phy_bench_report_write(const struct phy_bench_report *report, enum phy_bench_form form,
                                       const char *path, const struct phy_host *host)
{
    char *text = phy_bench_report_text(report, form);
    if (!text)
        return phy_fail_memory(host, "a report", 0);
    enum phy_status status = phy_write_whole_file(path, write_text, text, host);
    phy_bench_text_free(text);
    return status;
}
