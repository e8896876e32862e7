/* SPDX-License-Identifier: Apache-2.0 */
/* The whole run, in order: model, prompts, devices, plan; the reference, the oracle; then store by store, path by path,
 * device by device. */
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "audit/audit_parts.h"
#include "base/alloc.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/path_name.h"
#include "device/held_log.h"
#include "quant/bitmap.h"

static enum phy_status open_model(struct phy_audit *audit)
{
    struct phy_audit_record *r = &audit->record;
    struct phy_model_params params = {.device = "cpu", .threads = audit->params.threads, .host = audit->host};
    struct phy_model_info info;
    enum phy_status status = phy_model_open(&audit->model, audit->params.donor, &params);
    if (status == PHY_OK)
        status = phy_tokenizer_open(&audit->tokenizer, audit->params.donor,
                                    &(struct phy_tokenizer_params){.host = audit->host});
    if (status == PHY_OK)
        status =
            phy_audit_weight_digest(audit->model->checkpoint, r->model_digest, sizeof r->model_digest, audit->host);
    if (status != PHY_OK)
        return status;
    phy_model_describe(audit->model, &info);
    r->model_name = phy_path_last_part(audit->params.donor);
    snprintf(r->model_type, sizeof r->model_type, "%s", info.model_type);
    r->model_layers = info.layer_count;
    r->hidden_size = info.hidden_size;
    r->intermediate_size = info.intermediate_size;
    r->vocab_size = info.vocab_size;
    snprintf(r->driven_rest, sizeof r->driven_rest, "%s", info.device);
    return r->model_name ? PHY_OK : phy_fail_memory(audit->host, "a name", strlen(audit->params.donor));
}

static uint64_t count_zeros(const struct phy_weights *w)
{
    const uint64_t count = w->data ? (uint64_t)w->rows * w->cols : 0;
    return count - phy_bitmap_count(w->type, w->data, count);
}

/* A bitmap takes a bit for each weight: of one in 16 or fewer that are zero it saves nothing. Whoever names the path
 * has it all the same. */
static void look_for_zeros(struct phy_audit *audit)
{
    const struct phy_audit_record *r = &audit->record;
    const double weights = 3.0 * r->model_layers * r->hidden_size * r->intermediate_size;
    uint64_t zeros = 0;
    if (!audit->params.all || audit->params.paths)
        return;
    for (uint32_t i = 0; i < r->model_layers; i++) {
        const struct phy_layer *l = &audit->model->layers[i];
        zeros += count_zeros(&l->gate) + count_zeros(&l->up) + count_zeros(&l->down);
    }
    audit->zeros = (double)zeros / weights;
    audit->dense = audit->zeros <= 1.0 / 16;
}

static enum phy_status skip_bitmap(struct phy_audit *audit)
{
    char reason[PHY_AUDIT_SENTENCE];
    snprintf(reason, sizeof reason, "not pruned: %.3g%% of the FFN's weights are zero", 100 * audit->zeros);
    enum phy_status status = phy_audit_reserve(audit, audit->record.device_count);
    for (size_t d = 0; d < audit->record.device_count && status == PHY_OK; d++) {
        struct phy_audit_outcome outcome = {0};
        phy_audit_skip_path("bitmap", "bitmap", audit->record.devices[d].name, reason, &outcome);
        phy_audit_take_outcome(audit, &outcome);
    }
    return status;
}

/* Recorded with the rest of the model in plain C, so that two machines record the same inputs; driven with the rest in
 * the form that the paths will be driven with. */
static enum phy_status run_reference(struct phy_audit *audit)
{
    struct phy_audit_record *r = &audit->record;
    struct phy_model *plain;
    struct phy_model_params params = {.device = "cpu:ref", .threads = audit->params.threads, .host = audit->host};
    enum phy_status status = phy_model_open(&plain, audit->params.donor, &params);
    if (status != PHY_OK)
        return status;
    snprintf(r->rest, sizeof r->rest, "%s", "cpu:ref");
    status = phy_recording_alloc(&audit->recording, audit, true);
    audit->logits = phy_alloc(r->prompt_count * r->vocab_size, sizeof *audit->logits);
    if (status == PHY_OK && !audit->logits)
        status = phy_fail_memory(audit->host, "logits", r->prompt_count * r->vocab_size * sizeof *audit->logits);
    if (status == PHY_OK)
        status = phy_audit_reference_pass(audit, plain, &audit->recording, NULL);
    phy_model_close(&plain);
    if (status == PHY_OK)
        status = phy_audit_reference_pass(audit, audit->model, NULL, audit->logits);
    return status;
}

/* ---- a storage ---- */

static bool stored_layer(const void *user, uint32_t index, struct phy_reference_layer *out)
{
    const struct phy_audited_store *store = user;
    const struct phy_store_layer *l = phy_ffn_store_layer(store->store, index);
    if (!l->present)
        return false;
    *out = (struct phy_reference_layer){.gate = &l->gate,
                                        .up = &l->up,
                                        .gate_up = &l->gate_up,
                                        .down = &l->down,
                                        .down_by_feature = &l->down_by_feature};
    return true;
}

struct with_biases {
    const struct phy_audited_store *store;
    const struct phy_model *model;
};

static bool stored_layer_with_biases(const void *user, uint32_t index, struct phy_reference_layer *out)
{
    const struct with_biases *from = user;
    const struct phy_layer *l = &from->model->layers[index];
    if (!stored_layer(from->store, index, out))
        return false;
    out->gate_bias = l->gate_bias;
    out->up_bias = l->up_bias;
    out->down_bias = l->down_bias;
    return true;
}

/* "layer 12 is not stored", or "" for a whole store of this model's shape. */
static void find_fault(const struct phy_audit *audit, const struct phy_audited_store *store, char *reason)
{
    const struct phy_audit_record *r = &audit->record;
    *reason = 0;
    if (store->info.layer_count != r->model_layers || store->info.hidden_size != r->hidden_size ||
        store->info.intermediate_size != r->intermediate_size) {
        snprintf(reason, PHY_AUDIT_SENTENCE, "the store has %u layers of %u x %u, the model %u of %u x %u",
                 store->info.layer_count, store->info.intermediate_size, store->info.hidden_size, r->model_layers,
                 r->intermediate_size, r->hidden_size);
        return;
    }
    for (uint32_t i = 0; i < r->model_layers; i++) {
        struct phy_reference_layer layer;
        if (!stored_layer(store, i, &layer)) {
            snprintf(reason, PHY_AUDIT_SENTENCE,
                     "dispatch: layer %u is not stored (%u of %u layers are): another path would compute it", i,
                     store->info.stored_layers, r->model_layers);
            return;
        }
    }
}

enum phy_status phy_audit_open_storage(struct phy_audit_lane *lane, struct phy_audit_storage *storage)
{
    struct phy_audit *audit = lane->audit;
    enum phy_status status = PHY_OK;
    storage->audited = (struct phy_audited_store){.scheme = storage->scheme};
    if (strcmp(storage->scheme, "donor") == 0)
        return PHY_OK;
    if (!storage->store)
        status = phy_audit_cached_store(audit, storage->scheme, &storage->store, storage->reason);
    if (status != PHY_OK || *storage->reason)
        return status;
    storage->audited.store = storage->store;
    phy_ffn_store_describe(storage->store, &storage->audited.info);
    find_fault(audit, &storage->audited, storage->reason);
    if (*storage->reason)
        return PHY_OK;
    const struct with_biases from = {&storage->audited, lane->model};
    status = phy_audit_reference_on(audit, lane->model, stored_layer_with_biases, &from, &storage->decoded);
    if (status == PHY_ERR_FORMAT) {
        snprintf(storage->reason, sizeof storage->reason, "the store lacks a matrix, or holds one in another shape");
        return PHY_OK;
    }
    storage->audited.decoded = &storage->decoded;
    return status;
}

void phy_audit_close_storage(struct phy_audit_storage *storage)
{
    phy_ffn_store_close(&storage->store);
    phy_recording_free(&storage->decoded);
}

/* ---- storage by storage ---- */

static enum phy_status add_storage(struct phy_audit *audit, struct phy_audit_storage *storages, size_t *count,
                                   const char *scheme)
{
    struct phy_audit_storage *s = &storages[*count];
    size_t cases = 0;
    snprintf(s->scheme, sizeof s->scheme, "%s", scheme);
    pthread_mutex_init(&s->lock, NULL);
    s->cases = phy_audit_cases(audit, scheme);
    while (s->cases && s->cases[cases].path)
        cases++;
    s->outcome_count = cases * audit->record.device_count + 1;
    s->outcomes = phy_zalloc(s->outcome_count, sizeof *s->outcomes);
    *count += 1;
    return s->cases && s->outcomes ? PHY_OK
                                   : phy_fail_memory(audit->host, "a list", s->outcome_count * sizeof *s->outcomes);
}

/* Every path of a storage that cannot be had fails with the reason, on every device; of a store that does not open
 * nobody knows the paths. */
static enum phy_status fail_cases(struct phy_audit *audit, const struct phy_audit_storage *storage)
{
    const size_t devices = audit->record.device_count;
    enum phy_status status = PHY_OK;
    for (size_t i = 0; storage->cases[i].path && status == PHY_OK; i++) {
        for (size_t d = 0; d < devices && status == PHY_OK; d++)
            status =
                phy_audit_failed_path(audit, storage->scheme, storage->cases[i].path, audit->record.devices[d].name,
                                      storage->reason, &storage->outcomes[i * devices + d]);
    }
    if (!storage->cases[0].path)
        status = phy_audit_failed_path(audit, storage->scheme, "any", "any", storage->reason, storage->outcomes);
    return status;
}

/* What happened, in the order of the plan, whether or not all did. */
static enum phy_status run_storages(struct phy_audit *audit, struct phy_audit_storage *storages, size_t count)
{
    size_t outcomes = 0;
    for (size_t i = 0; i < count; i++)
        outcomes += storages[i].outcome_count;
    enum phy_status status = phy_audit_reserve(audit, outcomes);
    if (status == PHY_OK)
        status = phy_audit_run_lanes(audit, storages, count);
    for (size_t i = 0; i < count; i++) {
        if (*storages[i].reason && status == PHY_OK)
            status = fail_cases(audit, &storages[i]);
        for (size_t k = 0; k < storages[i].outcome_count; k++)
            phy_audit_take_outcome(audit, &storages[i].outcomes[k]);
    }
    return status;
}

/* The store that params name is opened here: its scheme says which paths there are. */
static enum phy_status add_named_store(struct phy_audit *audit, struct phy_audit_storage *storages, size_t *count)
{
    char reason[PHY_AUDIT_SENTENCE];
    struct phy_ffn_store *store = NULL;
    struct phy_ffn_store_info info = {.scheme = "store"};
    enum phy_status status = phy_audit_open_store(audit->params.store, audit->params.q6k_order, &store, reason);
    if (status != PHY_OK && status != PHY_ERR_FORMAT)
        return phy_fail(audit->host, status, "%s", reason);
    const bool opened = status == PHY_OK;
    if (opened)
        phy_ffn_store_describe(store, &info);
    status = add_storage(audit, storages, count, info.scheme);
    storages[*count - 1].store = store;
    if (!opened)
        snprintf(storages[*count - 1].reason, sizeof reason, "%s", reason);
    return status;
}

static enum phy_status run_paths(struct phy_audit *audit)
{
    struct phy_audit_storage *storages = NULL;
    size_t count = 0, most = 1;
    while (phy_audit_schemes[most - 1])
        most++;
    storages = phy_zalloc(most, sizeof *storages);
    if (!storages)
        return phy_fail_memory(audit->host, "the storages", most * sizeof *storages);
    enum phy_status status =
        audit->params.store ? add_named_store(audit, storages, &count) : add_storage(audit, storages, &count, "donor");
    for (size_t i = 0; !audit->params.store && audit->params.all && phy_audit_schemes[i] && status == PHY_OK; i++) {
        struct phy_audit_case *cases = phy_audit_cases(audit, phy_audit_schemes[i]);
        const bool wanted = cases && cases[0].path;
        phy_free(cases);
        if (wanted)
            status = add_storage(audit, storages, &count, phy_audit_schemes[i]);
    }
    if (status == PHY_OK)
        status = run_storages(audit, storages, count);
    for (size_t i = 0; i < count; i++) {
        phy_audit_close_storage(&storages[i]);
        pthread_mutex_destroy(&storages[i].lock);
        phy_free(storages[i].cases);
        phy_free(storages[i].outcomes);
    }
    phy_free(storages);
    return status == PHY_OK && !audit->params.store && audit->dense ? skip_bitmap(audit) : status;
}

/* ---- the run ---- */

static enum phy_status check_paths(const struct phy_audit *audit)
{
    for (const char *at = audit->params.paths; at && *at; at += *at == ',') {
        char name[PHY_AUDIT_NAME];
        size_t bytes = strcspn(at, ",");
        snprintf(name, sizeof name, "%.*s", (int)(bytes < sizeof name ? bytes : sizeof name - 1), at);
        if (!phy_path_kind_named(name))
            return phy_fail(audit->host, PHY_ERR_USAGE, "path \"%s\": there is none of that name", name);
        if (!phy_audit_has_path(audit, name))
            return phy_fail(audit->host, PHY_ERR_USAGE,
                            "path \"%s\" is not made of the model's own matrices; --ffn STORE or --all brings others",
                            name);
        at += bytes;
    }
    return PHY_OK;
}

static void conclude(struct phy_audit *audit)
{
    struct phy_audit_record *r = &audit->record;
    phy_audit_hide_places(audit);
    r->passed = r->run_count > 0 && (!r->oracle.present || r->oracle.passed);
    for (size_t i = 0; i < r->run_count; i++)
        r->passed &= r->runs[i].passed;
}

static enum phy_status run(struct phy_audit *audit)
{
    enum phy_status status = check_paths(audit);
    if (status == PHY_OK && audit->params.bounds)
        status = phy_bounds_read(&audit->bounds, audit->params.bounds, audit->host);
    if (status == PHY_OK)
        status = open_model(audit);
    if (status == PHY_OK)
        look_for_zeros(audit);
    if (status == PHY_OK)
        status = phy_audit_prompts(audit);
    if (status == PHY_OK)
        status = phy_audit_devices(audit);
    if (status == PHY_OK)
        status = phy_audit_plan(audit);
    audit->work_total = (uint64_t)(audit->record.estimated_seconds * 1e9);
    if (status == PHY_OK)
        status = run_reference(audit);
    if (status == PHY_OK)
        status = phy_audit_oracle(audit);
    if (status == PHY_OK)
        status = audit->params.against ? phy_audit_surgery(audit) : run_paths(audit);
    return status;
}

enum phy_status phy_audit_run_with(struct phy_audit **out, const struct phy_audit_params *params,
                                   const struct phy_path_seam *seam)
{
    double began = phy_seconds_now();
    time_t now = time(NULL);
    struct tm utc;
    *out = NULL;
    struct phy_audit *audit = phy_zalloc(1, sizeof *audit);
    if (!audit)
        return phy_fail_memory(params->host, "an audit", sizeof *audit);
    audit->params = *params;
    phy_audit_share_host(audit);
    audit->seam = seam;
    enum phy_status status = run(audit);
    /* What only the run needs; the record stays. */
    phy_audit_close_devices(audit);
    phy_recording_free(&audit->recording);
    phy_tokenizer_close(&audit->tokenizer);
    phy_model_close(&audit->model);
    phy_free(audit->logits);
    audit->logits = NULL;
    if (status != PHY_OK) {
        phy_audit_free(&audit);
        return status;
    }
    conclude(audit);
    strftime(audit->record.date, sizeof audit->record.date, "%Y-%m-%d", gmtime_r(&now, &utc));
    audit->record.seconds = phy_seconds_now() - began;
    *out = audit;
    return PHY_OK;
}

enum phy_status phy_audit_run(struct phy_audit **out, const struct phy_audit_params *params)
{
    return phy_audit_run_with(out, params, NULL);
}

void phy_audit_free(struct phy_audit **audit)
{
    if (!*audit)
        return;
    phy_audit_record_free(&(*audit)->record);
    phy_bounds_free(&(*audit)->bounds);
    pthread_mutex_destroy(&(*audit)->progress);
    pthread_mutex_destroy(&(*audit)->opening);
    phy_free(*audit);
    *audit = NULL;
}

bool phy_audit_passed(const struct phy_audit *audit)
{
    return audit->record.passed;
}
