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

/* ---- where matrices come from ---- */

/* The store's layer; the model's own matrices where there is no store, or it lacks the layer. */
static struct path_source source_of(const struct phy_model *model, const struct phy_ffn_store *store, uint32_t index)
{
    const struct phy_layer *l = &model->layers[index];
    struct path_source source = {
        .gate_bias = l->gate_bias, .up_bias = l->up_bias, .down_bias = l->down_bias, .label = model->label};
    const struct phy_store_layer *stored = store ? phy_ffn_store_layer(store, index) : NULL;
    if (!stored || !stored->present) {
        source.gate = l->gate;
        source.up = l->up;
        source.down = l->down;
        return source;
    }
    source.gate = stored->gate;
    source.up = stored->up;
    source.gate_up = stored->gate_up;
    source.down = stored->down;
    source.down_by_feature = stored->down_by_feature;
    source.label = phy_ffn_store_label(store);
    return source;
}

static bool is_stored(const struct phy_ffn_store *store, uint32_t index)
{
    return store && phy_ffn_store_layer(store, index)->present;
}

static enum phy_status check_shape(const struct phy_model *model, const struct phy_ffn_store *store)
{
    struct phy_ffn_store_info info;
    const struct phy_model_config *c = &model->config;
    phy_ffn_store_describe(store, &info);
    if (info.layer_count == c->layer_count && info.hidden_size == c->hidden_size &&
        info.intermediate_size == c->intermediate_size)
        return PHY_OK;
    return phy_fail(model->host, PHY_ERR_MISMATCH,
                    "%s: a store of %u layers of %u x %u; %s has %u of %u x %u: it was made of another model",
                    phy_ffn_store_label(store), info.layer_count, info.intermediate_size, info.hidden_size,
                    model->label, c->layer_count, c->intermediate_size, c->hidden_size);
}

/* ---- routes ---- */

static struct phy_matmul_backend *backend_of(const struct path *path, const struct path_layer *layer)
{
    return layer->on_cpu ? path->cpu : path->device;
}

/* The path of one layer on that backend. A forced one must be taken: if the router takes another, or the layer is not
 * stored, the log says why. */
static enum phy_status route(const struct path *path, const struct phy_ffn_store *store,
                             const struct phy_matmul_backend *backend, uint32_t index, const struct path_rule *forced,
                             const struct path_rule **out)
{
    const struct phy_host *host = path->model->host;
    const struct path_source *source = &path->sources[index];
    char reason[256];
    if (forced && store && !is_stored(store, index))
        return phy_fail(host, PHY_ERR_UNSUPPORTED, "%s: layer %u is not stored, and path %s asks for it",
                        phy_ffn_store_label(store), index, forced->kind.name);
    *out = path_route(source, backend, path_mask(forced));
    if (forced && *out != forced) {
        if (path_offers(forced, source, backend, reason, sizeof reason))
            snprintf(reason, sizeof reason, "path %s: the router took %s", forced->kind.name,
                     *out ? (*out)->kind.name : "none");
        return phy_fail(host, PHY_ERR_UNSUPPORTED, "layer %u: %s", index, reason);
    }
    if (!*out)
        return phy_fail(host, PHY_ERR_UNSUPPORTED, "layer %u of %s: device %s offers no path for its formats", index,
                        source->label, backend->name);
    return PHY_OK;
}

static enum phy_status load(struct phy_matmul_backend *backend, struct path_layer *layers, size_t count,
                            const struct phy_host *host)
{
    struct phy_weights **matrices = phy_alloc(count, 3 * sizeof *matrices);
    if (!matrices)
        return phy_fail_memory(host, "a list of matrices", count * 3 * sizeof *matrices);
    size_t total = 0;
    for (size_t i = 0; i < count; i++)
        total += path_layer_matrices(&layers[i], matrices + total);
    enum phy_status status = total ? backend->ops->load(backend, matrices, total) : PHY_OK;
    phy_free(matrices);
    return status;
}

static enum phy_status make_layers(struct path *path, const struct phy_ffn_params *params,
                                   const struct path_rule *forced)
{
    struct phy_model *model = path->model;
    enum phy_status status = PHY_OK;
    for (uint32_t i = 0; i < model->config.layer_count && status == PHY_OK; i++) {
        const struct path_rule *rule;
        path->sources[i] = source_of(model, params->store, i);
        status = route(path, params->store, path->device, i, forced, &rule);
        if (status == PHY_OK)
            status = path_layer_make(&path->layers[i], rule, &path->sources[i], model->pool, model->host);
        path->layers[i].stored = is_stored(params->store, i);
        if (!path->rule || (path->layers[i].stored && !path->layers[0].stored))
            path->rule = path->layers[i].rule;
    }
    return status == PHY_OK ? load(path->device, path->layers, model->config.layer_count, model->host) : status;
}

/* ---- the call ---- */

/* The layer as the seam wants it; made when it first asks. */
static enum phy_status reroute(struct path *path, uint32_t index, struct path_layer **layer)
{
    const struct phy_host *host = path->model->host;
    const char *name = path->seam->reroute(path->seam->user, index, (*layer)->rule->kind.name);
    const struct path_rule *rule = name ? path_rule_named(name) : NULL;
    char reason[256];
    if (!rule || rule == (*layer)->rule)
        return PHY_OK;
    struct path_source source = path->sources[index];
    if (!path_offers(rule, &source, path->device, reason, sizeof reason)) {
        source = source_of(path->model, NULL, index);
        if (!path_offers(rule, &source, path->device, reason, sizeof reason))
            return phy_fail(host, PHY_ERR_UNSUPPORTED, "%s", reason);
    }
    if (!path->rerouted)
        path->rerouted = phy_zalloc(path->model->config.layer_count, sizeof *path->rerouted);
    if (!path->rerouted)
        return phy_fail_memory(host, "the layers", path->model->config.layer_count * sizeof *path->rerouted);
    struct path_layer *other = &path->rerouted[index];
    enum phy_status status = PHY_OK;
    if (other->rule != rule) {
        path_layer_free(other);
        status = path_layer_make(other, rule, &source, path->model->pool, host);
        other->on_cpu = (*layer)->on_cpu;
        if (status == PHY_OK)
            status = load(backend_of(path, other), other, 1, host);
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
    struct phy_matmul_backend *backend = backend_of(path, layer);
    *device = backend->name;
    const struct phy_path_seam *seam = path->seam;
    if (seam && seam->replace && seam->replace(seam->user, index, x, count, path->model->config.hidden_size, y))
        return PHY_OK;
    return path_run(path, layer, index, backend, x, count, y);
}

static enum phy_status forward(struct phy_ffn *ffn, uint32_t index, const float *x, size_t count, float *y)
{
    struct path *path = path_of(ffn);
    struct phy_path_step step = {.layer = index, .count = count};
    assert(count <= PHY_FFN_MAX_COUNT);
    enum phy_status status = compute(path, index, x, count, y, &step.device);
    if (status != PHY_OK)
        return status;
    if (path->seam && path->seam->tamper)
        path->seam->tamper(path->seam->user, index, count, path->model->config.hidden_size, y);
    if (path->tracer) {
        step.path = path_trace_read(&path->trace, step.kernels, sizeof step.kernels);
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
            path_layer_free(&path->layers[i]);
        if (path->rerouted)
            path_layer_free(&path->rerouted[i]);
    }
    phy_matmul_backend_destroy(&path->device);
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

static enum phy_status check_params(const struct phy_model *model, const struct phy_ffn_params *params,
                                    const struct path_rule **forced)
{
    const uint32_t features = model->config.intermediate_size;
    *forced = params->path ? path_rule_named(params->path) : NULL;
    if (params->path && !*forced)
        return phy_fail(model->host, PHY_ERR_USAGE, "path \"%.64s\": there is none of that name", params->path);
    if (params->top_k > features)
        return phy_fail(model->host, PHY_ERR_USAGE, "%u features: a layer of %s has %u", params->top_k, model->label,
                        features);
    return params->store ? check_shape(model, params->store) : PHY_OK;
}

static enum phy_status open_device(struct path *path, const char *device)
{
    struct phy_model *model = path->model;
    enum phy_status status = phy_matmul_backend_open(&path->device, device, model->pool, model->host);
    if (status != PHY_OK)
        return status;
    snprintf(path->device_name, sizeof path->device_name, "%s", path->device->name);
    path->device_is_cpu = strncmp(path->device->name, "cpu:", 4) == 0;
    path->device->ran = path_trace_ran;
    path->device->ran_user = &path->trace;
    return PHY_OK;
}

enum phy_status phy_ffn_create(struct phy_ffn **out, struct phy_model *model, const struct phy_ffn_params *params)
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
    path->top_k = params->top_k;
    if (!allocate(path))
        status = phy_fail(model->host, PHY_ERR_MEMORY, "out of memory: a path's activations");
    if (status == PHY_OK)
        status = open_device(path, params->device);
    if (status == PHY_OK)
        status = make_layers(path, params, forced);
    if (status != PHY_OK)
        destroy(&path->base);
    else
        *out = &path->base;
    return status;
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
    for (uint32_t i = 0; i < path->model->config.layer_count; i++)
        out->device_layers += !path->layers[i].on_cpu;
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

bool phy_path_offered(const char *name, struct phy_model *model, const struct phy_ffn_store *store, const char *device,
                      char *reason, size_t bytes)
{
    const struct path_rule *rule = path_rule_named(name);
    struct phy_held_log held;
    struct phy_matmul_backend *backend;
    if (!rule) {
        snprintf(reason, bytes, "path \"%.64s\": there is none of that name", name);
        return false;
    }
    phy_held_log_init(&held, NULL, true);
    if (phy_matmul_backend_open(&backend, device, model->pool, &held.host) != PHY_OK) {
        snprintf(reason, bytes, "%s", held.line);
        return false;
    }
    bool offered = true;
    for (uint32_t i = 0; i < model->config.layer_count && offered; i++) {
        const struct path_source source = source_of(model, store, i);
        offered = path_offers(rule, &source, backend, reason, bytes);
        if (offered && store && !is_stored(store, i)) {
            snprintf(reason, bytes, "%.200s: layer %u is not stored", phy_ffn_store_label(store), i);
            offered = false;
        }
    }
    phy_matmul_backend_destroy(&backend);
    return offered;
}
