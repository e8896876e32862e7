/* SPDX-License-Identifier: Apache-2.0 */
#include <xxhash.h>

#include "base/alloc.h"
#include "base/log.h"
#include "ffn/path_parts.h"

bool phy_path_is_stored(const struct phy_ffn_store *store, uint32_t index)
{
    return store && phy_ffn_store_layer(store, index)->present;
}

struct path_source phy_path_source_of(const struct phy_model *model, const struct phy_ffn_store *store, uint32_t index)
{
    const struct phy_layer *l = &model->layers[index];
    struct path_source source = {
        .gate_bias = l->gate_bias, .up_bias = l->up_bias, .down_bias = l->down_bias, .label = model->label};
    if (!phy_path_is_stored(store, index)) {
        source.gate = l->gate;
        source.up = l->up;
        source.down = l->down;
        return source;
    }
    const struct phy_store_layer *stored = phy_ffn_store_layer(store, index);
    source.gate = stored->gate;
    source.up = stored->up;
    source.gate_up = stored->gate_up;
    source.down = stored->down;
    source.down_by_feature = stored->down_by_feature;
    source.label = phy_ffn_store_label(store);
    return source;
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
                    "%s: %u layers of %u x %u were stored, %s has %u of %u x %u: it was made of another model",
                    phy_ffn_store_label(store), info.layer_count, info.intermediate_size, info.hidden_size,
                    model->label, c->layer_count, c->intermediate_size, c->hidden_size);
}

/* ---- digests ---- */

enum { PER_LAYER = 3 };

struct digest_job {
    const struct phy_model *model;
    const struct phy_ffn_store *store;
    bool *differs; /* (layers, PER_LAYER) */
};

static void digest_task(void *user, size_t index, unsigned worker)
{
    const struct digest_job *job = user;
    const uint32_t layer = (uint32_t)(index / PER_LAYER);
    const struct phy_layer *l = &job->model->layers[layer];
    const struct phy_weights *matrices[PER_LAYER] = {&l->gate, &l->up, &l->down};
    const struct phy_weights *w = matrices[index % PER_LAYER];
    (void)worker;
    if (!phy_path_is_stored(job->store, layer) || phy_cancelled(job->model->host))
        return;
    const struct phy_store_layer *stored = phy_ffn_store_layer(job->store, layer);
    const size_t bytes = w->rows * w->cols * phy_weight_float_bytes(w->type);
    job->differs[index] = stored->has_source && XXH3_64bits(w->data, bytes) != stored->source_xxh3[index % PER_LAYER];
}

static enum phy_status check_digests(const struct phy_model *model, const struct phy_ffn_store *store)
{
    static const char *const names[PER_LAYER] = {"gate", "up", "down"};
    const size_t count = (size_t)model->config.layer_count * PER_LAYER;
    struct digest_job job = {model, store, phy_zalloc(count, sizeof *job.differs)};
    if (!job.differs)
        return phy_fail_memory(model->host, "a store's check", count);
    phy_pool_run(model->pool, count, digest_task, &job);
    size_t first = 0;
    while (first < count && !job.differs[first])
        first++;
    phy_free(job.differs);
    enum phy_status status = phy_check_cancelled(model->host);
    if (status != PHY_OK || first == count)
        return status;
    return phy_fail(model->host, PHY_ERR_MISMATCH,
                    "%s: it was made of another model: layer %zu's %s of %s is not what was stored",
                    phy_ffn_store_label(store), first / PER_LAYER, names[first % PER_LAYER], model->label);
}

enum phy_status phy_path_check_store(const struct phy_model *model, const struct phy_ffn_store *store, bool trust)
{
    enum phy_status status = check_shape(model, store);
    return status == PHY_OK && !trust ? check_digests(model, store) : status;
}
