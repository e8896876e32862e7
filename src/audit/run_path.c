/* SPDX-License-Identifier: Apache-2.0 */
/* One path on one device: forced, traced, fed the recorded inputs, then driving. */
#include <stdio.h>
#include <string.h>

#include "audit/audit_parts.h"
#include "base/alloc.h"
#include "base/clock.h"
#include "base/log.h"
#include "device/held_log.h"

static bool init_run(const struct phy_audit *audit, struct phy_audit_run *run)
{
    *run = (struct phy_audit_run){.bounded = true};
    run->drives = phy_zalloc(audit->record.prompt_count, sizeof *run->drives);
    return run->drives != NULL;
}

enum phy_status phy_audit_reserve(struct phy_audit *audit, size_t count)
{
    struct phy_audit_record *r = &audit->record;
    struct phy_audit_run *runs = phy_realloc(r->runs, r->run_count + count, sizeof *runs);
    r->runs = runs ? runs : r->runs;
    struct phy_audit_skip *skips = phy_realloc(r->skips, r->skip_count + count, sizeof *skips);
    r->skips = skips ? skips : r->skips;
    return runs && skips ? PHY_OK : phy_fail_memory(audit->host, "the runs", count * sizeof *runs);
}

void phy_audit_take_outcome(struct phy_audit *audit, struct phy_audit_outcome *outcome)
{
    struct phy_audit_record *r = &audit->record;
    if (outcome->ran)
        r->runs[r->run_count++] = outcome->run;
    if (outcome->skipped)
        r->skips[r->skip_count++] = outcome->skip;
    outcome->ran = outcome->skipped = false;
}

struct phy_audit_run *phy_audit_new_run(struct phy_audit *audit)
{
    struct phy_audit_record *r = &audit->record;
    if (phy_audit_reserve(audit, 1) != PHY_OK || !init_run(audit, &r->runs[r->run_count]))
        return NULL;
    return &r->runs[r->run_count++];
}

static struct phy_audit_run *begin_run(const struct phy_audit *audit, const char *scheme, const char *path,
                                       const char *device, struct phy_audit_outcome *out)
{
    struct phy_audit_run *run = &out->run;
    const struct phy_path_kind *kind = phy_path_kind_named(path);
    if (!init_run(audit, run))
        return NULL;
    out->ran = true;
    snprintf(run->path, sizeof run->path, "%s", path);
    snprintf(run->device, sizeof run->device, "%s", device);
    snprintf(run->scheme, sizeof run->scheme, "%s", scheme);
    snprintf(run->bucket, sizeof run->bucket, "%s", kind ? kind->bucket : "exact");
    run->dispatch_expected = (uint64_t)audit->record.layer_count * audit->record.prompt_count;
    phy_bounds_find(&audit->bounds, audit->record.model_digest, audit->record.model_type, run, &run->limits);
    return run;
}

enum phy_status phy_audit_failed_path(const struct phy_audit *audit, const char *scheme, const char *path,
                                      const char *device, const char *cause, struct phy_audit_outcome *out)
{
    struct phy_audit_run *run = begin_run(audit, scheme, path, device, out);
    if (!run)
        return phy_fail_memory(audit->host, "a run", sizeof *run);
    run->broken = true;
    phy_audit_add_cause(&run->causes, "%s", cause);
    return PHY_OK;
}

void phy_audit_skip_path(const char *scheme, const char *path, const char *device, const char *reason,
                         struct phy_audit_outcome *out)
{
    struct phy_audit_skip *skip = &out->skip;
    out->skipped = true;
    snprintf(skip->path, sizeof skip->path, "%s", path);
    snprintf(skip->device, sizeof skip->device, "%s", device);
    snprintf(skip->scheme, sizeof skip->scheme, "%s", scheme);
    snprintf(skip->reason, sizeof skip->reason, "%s", reason);
}

/* ---- the trace ---- */

struct trace {
    struct phy_audit_run *run;
    const struct phy_audit_record *record;
    const char *prompt;     /* at work */
    bool driving, reported; /* reported: of the last forward call */
    bool matched;           /* it ran what it should, where it should */
    uint64_t wrong;
};

/* Kernels in the order seen, each once. */
static void note_kernels(struct phy_audit_run *run, const char *kernels)
{
    size_t used = strlen(run->kernels);
    if (!*kernels || strstr(run->kernels, kernels))
        return;
    snprintf(run->kernels + used, sizeof run->kernels - used, "%s%s", used ? "; " : "", kernels);
}

static void on_step(void *user, const struct phy_path_step *step)
{
    struct trace *t = user;
    struct phy_audit_run *run = t->run;
    bool right_path = step->path && strcmp(step->path, run->path) == 0;
    bool right_device = step->device && strcmp(step->device, run->device) == 0;
    t->reported = true;
    t->matched = right_path && right_device;
    note_kernels(run, step->kernels);
    if (t->matched || t->wrong++)
        return;
    const char *how = t->driving ? "driving " : "";
    if (!step->path && !*step->kernels)
        phy_audit_add_cause(&run->causes,
                            "dispatch: L%u, %s%.40s: no kernel of %s reported: something else computed it", step->layer,
                            how, t->prompt, run->path);
    else if (!right_path)
        phy_audit_add_cause(&run->causes, "dispatch: L%u, %s%.40s: %s ran (%s), not %s", step->layer, how, t->prompt,
                            step->path ? step->path : "no known path", step->kernels, run->path);
    else
        phy_audit_add_cause(&run->causes, "dispatch: L%u, %s%.40s: it ran on %s, not on %s", step->layer, how,
                            t->prompt, step->device ? step->device : "no device", run->device);
}

/* ---- the dual pass ---- */

static enum phy_status run_layer(struct phy_measuring *m, struct phy_ffn *ffn, struct trace *t, size_t prompt,
                                 size_t layer, float *y)
{
    const struct phy_audit_record *r = &m->audit->record;
    const struct phy_audit_prompt *p = &r->prompts[prompt];
    const float *x = m->audit->recording.x[prompt] + layer * p->position_count * r->hidden_size;
    bool matched = true;
    for (size_t done = 0; done < p->position_count;) {
        size_t count = p->position_count - done < PHY_FFN_MAX_COUNT ? p->position_count - done : PHY_FFN_MAX_COUNT;
        t->reported = t->matched = false;
        enum phy_status status = ffn->ops->forward(ffn, r->layers[layer], x + done * r->hidden_size, count, y);
        if (status != PHY_OK)
            return status;
        if (!t->reported && !t->wrong++)
            phy_audit_add_cause(&m->run->causes, "dispatch: L%u, %.40s: nothing was traced", r->layers[layer], p->name);
        matched &= t->matched;
        phy_measuring_add(m, prompt, layer, done, y, count);
        done += count;
    }
    m->run->dispatch_seen += matched;
    return PHY_OK;
}

static enum phy_status dual_pass(struct phy_measuring *m, struct phy_ffn *ffn, struct trace *t)
{
    struct phy_audit *audit = m->audit;
    const struct phy_audit_record *r = &audit->record;
    float *y = phy_alloc((size_t)PHY_FFN_MAX_COUNT * r->hidden_size, sizeof *y);
    enum phy_status status = y ? PHY_OK : phy_fail_memory(audit->host, "outputs", PHY_FFN_MAX_COUNT);
    for (size_t i = 0; i < r->prompt_count && status == PHY_OK; i++) {
        t->prompt = r->prompts[i].name;
        for (size_t l = 0; l < r->layer_count && status == PHY_OK; l++) {
            status = phy_cancelled(audit->host) ? PHY_ERR_INTERRUPTED : run_layer(m, ffn, t, i, l, y);
            if (status != PHY_OK && status != PHY_ERR_INTERRUPTED)
                phy_audit_add_cause(&m->run->causes, "L%u/%.40s: it failed (%s)", r->layers[l], t->prompt,
                                    phy_status_name(status));
        }
    }
    phy_free(y);
    return status;
}

/* ---- the run ---- */

static enum phy_status driven_pass(struct phy_audit_lane *lane, struct phy_audit_run *run, struct phy_ffn *ffn,
                                   struct trace *t)
{
    t->driving = true;
    t->prompt = "a prompt";
    return phy_audit_drive(lane->audit, run, lane->model, ffn);
}

/* The path's own complaints become causes, not the audit's errors. */
static void take_line(struct phy_audit_run *run, const struct phy_held_log *held, const char *what,
                      enum phy_status status)
{
    phy_audit_add_cause(&run->causes, "%s (%s)%s%s", what, phy_status_name(status), *held->line ? ": " : "",
                        held->line);
}

static enum phy_status measure(struct phy_audit_lane *lane, struct phy_audit_run *run,
                               const struct phy_audited_store *store, struct phy_path_device *device,
                               struct phy_held_log *held)
{
    struct phy_audit *audit = lane->audit;
    struct phy_ffn *ffn;
    struct phy_ffn_params params = {.store = store->store, .path = run->path};
    struct trace trace = {.run = run, .record = &audit->record};
    struct phy_measuring measuring = {0};
    enum phy_status status = phy_ffn_create_on(&ffn, lane->model, &params, device);
    if (status != PHY_OK) {
        run->broken = true;
        take_line(run, held, "the path could not be made", status);
        return status == PHY_ERR_INTERRUPTED ? status : PHY_OK;
    }
    phy_ffn_trace(ffn, on_step, &trace);
    phy_ffn_set_seam(ffn, audit->seam);
    status = phy_measuring_begin(&measuring, audit, run, store->decoded);
    if (status == PHY_OK) {
        status = dual_pass(&measuring, ffn, &trace);
        if (status == PHY_OK)
            status = driven_pass(lane, run, ffn, &trace);
        if (status != PHY_ERR_INTERRUPTED && *held->line)
            phy_audit_add_cause(&run->causes, "%s", held->line);
        phy_measuring_end(&measuring);
        if (status == PHY_OK && trace.wrong)
            phy_audit_add_cause(&run->causes, "dispatch: %llu of %llu calls ran what they should",
                                (unsigned long long)run->dispatch_seen, (unsigned long long)run->dispatch_expected);
        phy_measuring_judge(&measuring);
    }
    phy_measuring_free(&measuring);
    phy_ffn_destroy(&ffn);
    return status == PHY_ERR_INTERRUPTED || status == PHY_ERR_MEMORY ? status : PHY_OK;
}

/* ---- devices ---- */

/* Where the device is kept; NULL there, with the reason, if it does not open. */
static struct phy_path_device **keep_device(struct phy_audit_lane *lane, const struct phy_device_info *device,
                                            char *reason)
{
    struct phy_audit *audit = lane->audit;
    struct phy_path_device **kept = &audit->devices[device - audit->record.devices];
    struct phy_held_log held;
    phy_held_log_init(&held, NULL, true);
    pthread_mutex_lock(&audit->opening);
    if (!*kept && phy_path_device_open(kept, device->name, lane->model, &held.host) != PHY_OK)
        snprintf(reason, PHY_AUDIT_SENTENCE, "%.500s", held.line);
    pthread_mutex_unlock(&audit->opening);
    return kept;
}

void phy_audit_close_devices(struct phy_audit *audit)
{
    for (size_t i = 0; audit->devices && i < audit->record.device_count; i++)
        phy_path_device_close(&audit->devices[i]);
    phy_free(audit->devices);
    audit->devices = NULL;
}

enum phy_status phy_audit_path(struct phy_audit_lane *lane, const struct phy_audited_store *store, const char *path,
                               const struct phy_device_info *device, struct phy_audit_outcome *out)
{
    struct phy_audit *audit = lane->audit;
    struct phy_model *model = lane->model;
    char reason[PHY_AUDIT_SENTENCE];
    double began = phy_seconds_now();
    struct phy_path_device **kept = keep_device(lane, device, reason);
    if (!*kept || !phy_path_offered_on(path, model, store->store, *kept, reason, sizeof reason)) {
        phy_audit_skip_path(store->scheme, path, device->name, reason, out);
        return PHY_OK;
    }
    struct phy_audit_run *run = begin_run(audit, store->scheme, path, device->name, out);
    if (!run)
        return phy_fail_memory(audit->host, "a run", sizeof *run);
    if (store->store) {
        snprintf(run->layout, sizeof run->layout, "%s", store->info.layout);
        snprintf(run->store_digest, sizeof run->store_digest, "%s", store->info.digest);
    }
    /* Between gate and up the model's activation is at work: that of the device under audit, for these calls. */
    const struct phy_activation_variant *activation = model->activation;
    const struct phy_host *host = model->host;
    struct phy_held_log held;
    phy_held_log_init(&held, host, true);
    model->activation = phy_audit_activation(device->name);
    model->host = &held.host;
    enum phy_status status = measure(lane, run, store, *kept, &held);
    model->host = host;
    model->activation = activation;
    run->seconds = phy_seconds_now() - began;
    /* One that failed may be lost: the next path gets a fresh one. */
    if (run->causes.count) {
        pthread_mutex_lock(&audit->opening);
        phy_path_device_close(kept);
        pthread_mutex_unlock(&audit->opening);
    }
    return status;
}
