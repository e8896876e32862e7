/* SPDX-License-Identifier: Apache-2.0 */
/* Paths: made, routed, and called by the model. */
#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/checked_math.h"
#include "base/log.h"
#include "device/device_set.h"
#include "ffn/path_parts.h"

static struct path *path_of(struct phy_ffn *ffn)
{
    return (struct path *)ffn;
}

/* ---- the call ---- */

/* The layer as the seam wants it; made when it first asks. */
static enum phy_status reroute(struct path *path, uint32_t index, struct path_layer **layer)
{
    const struct phy_host *host = path->model->host;
    const char *name = path->seam->reroute(path->seam->user, index, (*layer)->rule->kind.name);
    const struct path_rule *rule = name ? phy_path_rule_named(name) : NULL;
    char reason[256];
    if (!rule || rule == (*layer)->rule)
        return PHY_OK;
    struct path_source source = path->sources[index];
    if (!phy_path_offers(rule, &source, path->device, reason, sizeof reason)) {
        source = phy_path_source_of(path->model, NULL, index);
        if (!phy_path_offers(rule, &source, path->device, reason, sizeof reason))
            return phy_fail(host, PHY_ERR_UNSUPPORTED, "%s", reason);
    }
    if (!path->rerouted)
        path->rerouted = phy_zalloc(path->model->config.layer_count, sizeof *path->rerouted);
    if (!path->rerouted)
        return phy_fail_memory(host, "the layers", path->model->config.layer_count * sizeof *path->rerouted);
    struct path_layer *other = &path->rerouted[index];
    enum phy_status status = PHY_OK;
    if (other->rule != rule) {
        phy_path_layer_free(other);
        status = phy_path_layer_make(other, rule, &source, path->model->pool, host);
        other->on_cpu = (*layer)->on_cpu;
        if (status == PHY_OK)
            status = phy_path_load(phy_path_backend(path, other), other, 1, host);
    }
    *layer = other;
    return status;
}

static enum phy_status compute(struct path *path, uint32_t index, const float *x, size_t count, float *y,
                               const char **device)
{
    struct path_layer *layer = &path->layers[index];
    enum phy_status status = PHY_OK;
    if (path->seam && path->seam->reroute)
        status = reroute(path, index, &layer);
    if (status != PHY_OK)
        return status;
    path->trace.count = 0;
    path->trace.overflow = false;
    struct phy_matmul_backend *backend = phy_path_backend(path, layer);
    *device = backend->name;
    const struct phy_path_seam *seam = path->seam;
    if (seam && seam->replace && seam->replace(seam->user, index, x, count, path->model->config.hidden_size, y))
        return PHY_OK;
    return phy_path_run(path, layer, index, backend, x, count, y);
}

static enum phy_status forward(struct phy_ffn *ffn, uint32_t index, const float *x, size_t count, float *y)
{
    struct path *path = path_of(ffn);
    struct phy_path_step step = {.layer = index, .count = count};
    assert(count <= PHY_FFN_MAX_COUNT);
    enum phy_status status = compute(path, index, x, count, y, &step.device);
    if (status != PHY_OK && phy_path_fall_back(path, &status))
        status = compute(path, index, x, count, y, &step.device);
    if (status != PHY_OK)
        return status;
    if (path->store && phy_ffn_store_torn(path->store))
        return phy_fail(path->model->host, PHY_ERR_IO, "%s: became shorter, or unreadable, while it was in use",
                        phy_ffn_store_label(path->store));
    if (path->seam && path->seam->tamper)
        path->seam->tamper(path->seam->user, index, count, path->model->config.hidden_size, y);
    if (path->tracer) {
        step.path = phy_path_trace_read(&path->trace, step.kernels, sizeof step.kernels);
        path->tracer(path->tracer_user, &step);
    }
    return PHY_OK;
}

/* ---- making one ---- */

static void destroy(struct phy_ffn *ffn)
{
    struct path *path = path_of(ffn);
    for (uint32_t i = 0; i < path->model->config.layer_count; i++) {
        if (path->layers)
            phy_path_layer_free(&path->layers[i]);
        if (path->rerouted)
            phy_path_layer_free(&path->rerouted[i]);
    }
    phy_path_leave_device(path);
    phy_matmul_backend_destroy(&path->cpu);
    void *all[] = {path->layers, path->rerouted, path->sources, path->gate, path->pair, path->features};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        phy_free(all[i]);
    phy_free(path);
}

static bool allocate(struct path *path)
{
    const struct phy_model_config *c = &path->model->config;
    size_t values;
    path->layers = phy_zalloc(c->layer_count, sizeof *path->layers);
    path->sources = phy_zalloc(c->layer_count, sizeof *path->sources);
    path->features = phy_alloc(c->intermediate_size, sizeof *path->features);
    if (phy_mul_size(PHY_FFN_MAX_COUNT, c->intermediate_size, &values)) {
        path->gate = phy_alloc(values, sizeof(float));
        path->pair = phy_alloc(values, 2 * sizeof(float));
    }
    return path->layers && path->sources && path->features && path->gate && path->pair;
}

/* What can be known before anything is made. */
static enum phy_status check_params(const struct phy_model *model, const struct phy_ffn_params *params,
                                    const struct path_rule **forced)
{
    const uint32_t features = model->config.intermediate_size;
    *forced = params->path ? phy_path_rule_named(params->path) : NULL;
    if (params->path && !*forced)
        return phy_fail(model->host, PHY_ERR_USAGE, "path \"%.64s\": there is none of that name", params->path);
    if (params->top_k > features)
        return phy_fail(model->host, PHY_ERR_USAGE, "%u features: a layer of %s has %u", params->top_k, model->label,
                        features);
    return params->store ? phy_path_check_store(model, params->store, params->trust) : PHY_OK;
}

/* The layer takes the path that all of them are called by, from the store if there is one. */
static bool is_as_named(const struct path *path, uint32_t index)
{
    return path->layers[index].rule == path->rule && (!path->store || phy_path_is_stored(path->store, index));
}

/* The path that it is called: the first stored layer's, or the first layer's. Others are worth a note. */
static void name_path(struct path *path)
{
    const uint32_t count = path->model->config.layer_count;
    uint32_t first = 0, donors = 0, others = 0;
    while (path->store && first < count - 1 && !phy_path_is_stored(path->store, first))
        first++;
    path->rule = path->layers[first].rule;
    const struct path_rule *donor = NULL, *other = NULL;
    for (uint32_t i = 0; i < count; i++) {
        const bool stored = !path->store || phy_path_is_stored(path->store, i);
        if (!stored)
            donor = path->layers[i].rule;
        else if (path->layers[i].rule != path->rule)
            other = path->layers[i].rule;
        donors += !stored;
        others += stored && path->layers[i].rule != path->rule;
    }
    if (donors)
        phy_note(path->model->host, "%u of %u layers are not stored: they run the donor's own matrices by path %s",
                 donors, count, donor->kind.name);
    if (others)
        phy_note(path->model->host, "%u of %u layers take path %s instead of %s", others, count, other->kind.name,
                 path->rule->kind.name);
}

static enum phy_status prepare(struct path *path, const struct phy_ffn_params *params, struct phy_path_device *device)
{
    const struct phy_host *host = path->model->host;
    if (!allocate(path))
        return phy_fail(host, PHY_ERR_MEMORY, "out of memory: a path's activations");
    enum phy_status status = phy_path_take_device(path, params->device, params->tune, device);
    if (status != PHY_OK)
        return status;
    if (params->device_memory && path->device_is_cpu)
        return phy_fail(host, PHY_ERR_USAGE, "device %s: it has no memory of its own to bound", path->device_name);
    for (uint32_t i = 0; i < path->model->config.layer_count; i++)
        path->sources[i] = phy_path_source_of(path->model, path->store, i);
    status = phy_path_place_layers(path, params->device_memory);
    if (status != PHY_OK)
        return status;
    name_path(path);
    if (params->top_k && path->rule->family != PATH_LISTED)
        return phy_fail(host, PHY_ERR_USAGE, "path %s computes every feature; a number of them is for a sparse one",
                        path->rule->kind.name);
    return PHY_OK;
}

enum phy_status phy_ffn_create_on(struct phy_ffn **out, struct phy_model *model, const struct phy_ffn_params *params,
                                  struct phy_path_device *device)
{
    static const struct phy_ffn_ops ops = {.forward = forward, .destroy = destroy};
    static const struct phy_ffn_params defaults = {0};
    const struct path_rule *forced;
    params = params ? params : &defaults;
    *out = NULL;
    enum phy_status status = check_params(model, params, &forced);
    if (status != PHY_OK)
        return status;
    struct path *path = phy_zalloc(1, sizeof *path);
    if (!path)
        return phy_fail_memory(model->host, "a path", sizeof *path);
    path->base.ops = &ops;
    path->model = model;
    path->store = params->store;
    path->forced = forced;
    path->top_k = params->top_k;
    path->fallback_cpu = params->fallback_cpu;
    status = prepare(path, params, device);
    if (status != PHY_OK)
        destroy(&path->base);
    else
        *out = &path->base;
    return status;
}

enum phy_status phy_ffn_create(struct phy_ffn **out, struct phy_model *model, const struct phy_ffn_params *params)
{
    return phy_ffn_create_on(out, model, params, NULL);
}

void phy_ffn_destroy(struct phy_ffn **ffn)
{
    if (*ffn)
        (*ffn)->ops->destroy(*ffn);
    *ffn = NULL;
}

void phy_ffn_describe(const struct phy_ffn *ffn, struct phy_ffn_info *out)
{
    const struct path *path = (const struct path *)ffn;
    *out = (struct phy_ffn_info){
        .path = path->rule->kind.name,
        .device = path->device_name,
        .bucket = path->rule->kind.bucket,
        .features_visited = path->visited,
        .features_skipped = path->skipped,
        .bytes_read = path->bytes_read,
    };
    for (uint32_t i = 0; i < path->model->config.layer_count; i++) {
        out->device_layers += !path->layers[i].on_cpu;
        out->path_layers += is_as_named(path, i);
    }
}

void phy_ffn_trace(struct phy_ffn *ffn, phy_path_tracer *tracer, void *user)
{
    path_of(ffn)->tracer = tracer;
    path_of(ffn)->tracer_user = user;
}

void phy_ffn_set_seam(struct phy_ffn *ffn, const struct phy_path_seam *seam)
{
    path_of(ffn)->seam = seam;
}

bool phy_path_offered_on(const char *name, struct phy_model *model, const struct phy_ffn_store *store,
                         const struct phy_path_device *device, char *reason, size_t bytes)
{
    const struct path_rule *rule = phy_path_rule_named(name);
    if (!rule) {
        snprintf(reason, bytes, "path \"%.64s\": there is none of that name", name);
        return false;
    }
    for (uint32_t i = 0; i < model->config.layer_count; i++) {
        const struct path_source source = phy_path_source_of(model, store, i);
        if (!phy_path_offers(rule, &source, device->backend, reason, bytes))
            return false;
        if (store && !phy_path_is_stored(store, i)) {
            snprintf(reason, bytes, "%.200s: layer %u is not stored", phy_ffn_store_label(store), i);
            return false;
        }
    }
    return true;
}
