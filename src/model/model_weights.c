/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/log.h"
#include "format/checkpoint_files.h"
#include "model/model_parts.h"

/* ---- finding tensors: a sorted list of names ---- */

struct entry {
    const char *name;
    size_t tensor;
};

struct finder {
    struct phy_model *model;
    struct entry *entries;
    size_t count;
    const char *prefix; /* "model.", or what stands before it in multimodal checkpoints */
    enum phy_status status;
};

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct entry *)a)->name, ((const struct entry *)b)->name);
}

static bool find(const struct finder *finder, const char *name, struct phy_tensor_info *out)
{
    struct entry key = {.name = name};
    const struct entry *found = bsearch(&key, finder->entries, finder->count, sizeof key, by_name);
    if (found)
        phy_checkpoint_tensor(finder->model->checkpoint, found->tensor, out);
    return found != NULL;
}

static bool float_type(const char *dtype, enum phy_weight_type *type)
{
    if (strcmp(dtype, "BF16") == 0)
        *type = PHY_WEIGHT_BF16;
    else if (strcmp(dtype, "F16") == 0)
        *type = PHY_WEIGHT_F16;
    else if (strcmp(dtype, "F32") == 0)
        *type = PHY_WEIGHT_F32;
    else
        return false;
    return true;
}

/* The tensor `name` with its data, or a logged failure. rows 0: a vector of `cols`. */
static const void *take(struct finder *finder, const char *name, size_t rows, size_t cols, enum phy_weight_type *type)
{
    struct phy_model *model = finder->model;
    struct phy_tensor_info tensor;
    char quoted[PHY_QUOTED_BYTES], shape[48];
    if (finder->status != PHY_OK)
        return NULL;
    phy_quote(quoted, name, strlen(name));
    if (!find(finder, name, &tensor)) {
        finder->status = phy_fail(model->host, PHY_ERR_FORMAT, "%s: tensor %s: missing", model->label, quoted);
        return NULL;
    }
    bool right = rows ? tensor.dim_count == 2 && tensor.shape[0] == rows && tensor.shape[1] == cols
                      : tensor.dim_count == 1 && tensor.shape[0] == cols;
    if (!right) {
        if (rows)
            snprintf(shape, sizeof shape, "[%zu, %zu]", rows, cols);
        else
            snprintf(shape, sizeof shape, "[%zu]", cols);
        finder->status =
            phy_fail(model->host, PHY_ERR_FORMAT, "%s: tensor %s: its shape is not the %s that config.json makes it",
                     model->label, quoted, shape);
        return NULL;
    }
    if (!float_type(tensor.dtype, type)) {
        finder->status = phy_fail(model->host, PHY_ERR_UNSUPPORTED,
                                  "%s: tensor %s: %s weights cannot be run, only "
                                  "BF16, F16 and F32",
                                  model->label, quoted, tensor.dtype);
        return NULL;
    }
    return model->mappings[tensor.shard].data + tensor.at;
}

static void take_matrix(struct finder *finder, const char *name, size_t rows, size_t cols, struct phy_weights *out)
{
    out->data = take(finder, name, rows, cols, &out->type);
    out->rows = rows;
    out->cols = cols;
}

static float *take_vector(struct finder *finder, const char *name, size_t count)
{
    enum phy_weight_type type;
    const void *data = take(finder, name, 0, count, &type);
    if (!data)
        return NULL;
    float *out = phy_alloc(count, sizeof *out);
    if (out)
        phy_widen(out, data, type, count);
    else
        finder->status = phy_fail_memory(finder->model->host, "a weight vector", count * sizeof *out);
    return out;
}

/* ---- layers ---- */

struct layer_name {
    char text[256];
};

static const char *layer_name(struct layer_name *out, const struct finder *finder, uint32_t layer, const char *rest)
{
    snprintf(out->text, sizeof out->text, "%.128slayers.%u.%.64s", finder->prefix, layer, rest);
    return out->text;
}

static void load_layer(struct finder *finder, uint32_t index)
{
    const struct phy_model_config *c = &finder->model->config;
    struct phy_layer *layer = &finder->model->layers[index];
    const size_t hidden = c->hidden_size, q_rows = (size_t)c->head_count * c->head_dim,
                 kv_rows = (size_t)c->kv_head_count * c->head_dim, wide = c->intermediate_size;
    struct layer_name name;
    const struct {
        const char *name;
        struct phy_weights *to;
        size_t rows, cols;
    } matrices[] = {
        {"self_attn.q_proj.weight", &layer->q, q_rows, hidden},
        {"self_attn.k_proj.weight", &layer->k, kv_rows, hidden},
        {"self_attn.v_proj.weight", &layer->v, kv_rows, hidden},
        {"self_attn.o_proj.weight", &layer->o, hidden, q_rows},
        {"mlp.gate_proj.weight", &layer->gate, wide, hidden},
        {"mlp.up_proj.weight", &layer->up, wide, hidden},
        {"mlp.down_proj.weight", &layer->down, hidden, wide},
    };
    const bool qk_norm = c->architecture == PHY_ARCH_QWEN3 || c->architecture == PHY_ARCH_GEMMA3;
    const bool four_norms = c->architecture == PHY_ARCH_GEMMA3;
    const struct {
        const char *name;
        float **to;
        size_t count;
        bool present;
    } vectors[] = {
        {"self_attn.q_proj.bias", &layer->q_bias, q_rows, c->attention_bias},
        {"self_attn.k_proj.bias", &layer->k_bias, kv_rows, c->attention_bias},
        {"self_attn.v_proj.bias", &layer->v_bias, kv_rows, c->attention_bias},
        {"self_attn.o_proj.bias", &layer->o_bias, hidden, c->output_bias},
        {"mlp.gate_proj.bias", &layer->gate_bias, wide, c->mlp_bias},
        {"mlp.up_proj.bias", &layer->up_bias, wide, c->mlp_bias},
        {"mlp.down_proj.bias", &layer->down_bias, hidden, c->mlp_bias},
        {"self_attn.q_norm.weight", &layer->q_norm, c->head_dim, qk_norm},
        {"self_attn.k_norm.weight", &layer->k_norm, c->head_dim, qk_norm},
        {"input_layernorm.weight", &layer->input_norm, hidden, true},
        {"post_attention_layernorm.weight", &layer->post_attention_norm, hidden, true},
        {"pre_feedforward_layernorm.weight", &layer->pre_ffn_norm, hidden, four_norms},
        {"post_feedforward_layernorm.weight", &layer->post_ffn_norm, hidden, four_norms},
    };
    for (size_t i = 0; i < sizeof matrices / sizeof *matrices; i++)
        take_matrix(finder, layer_name(&name, finder, index, matrices[i].name), matrices[i].rows, matrices[i].cols,
                    matrices[i].to);
    for (size_t i = 0; i < sizeof vectors / sizeof *vectors; i++) {
        struct phy_tensor_info tensor;
        const char *text = layer_name(&name, finder, index, vectors[i].name);
        if (vectors[i].present)
            *vectors[i].to = take_vector(finder, text, vectors[i].count);
        else if (finder->status == PHY_OK && find(finder, text, &tensor))
            finder->status =
                phy_fail(finder->model->host, PHY_ERR_UNSUPPORTED,
                         "%s: tensor \"%s\": the architecture in config.json has none, and it would change "
                         "the result",
                         finder->model->label, text);
    }
}

static void tell_of_more_layers(const struct finder *finder)
{
    const uint32_t count = finder->model->config.layer_count;
    struct phy_tensor_info tensor;
    struct layer_name name;
    if (find(finder, layer_name(&name, finder, count, "input_layernorm.weight"), &tensor))
        phy_warn(finder->model->host, "%s: tensor \"%s\": config.json makes %u layers, those from %u on are not run",
                 finder->model->label, name.text, count, count);
}

/* ---- the whole ---- */

static enum phy_status map_shards(struct phy_model *model)
{
    size_t count = phy_checkpoint_shard_count(model->checkpoint);
    model->mappings = phy_zalloc(count, sizeof *model->mappings);
    if (!model->mappings)
        return phy_fail_memory(model->host, "maps of the weight files", count * sizeof *model->mappings);
    for (size_t i = 0; i < count; i++) {
        struct phy_shard_info shard;
        phy_checkpoint_shard(model->checkpoint, i, &shard);
        int error =
            phy_mapping_open(&model->mappings[i], phy_checkpoint_shard_fd(model->checkpoint, i), shard.file_bytes);
        if (error)
            return phy_fail(model->host, PHY_ERR_IO, "%s: cannot be mapped: %s", shard.name, strerror(error));
        model->mapping_count++;
    }
    return PHY_OK;
}

static enum phy_status list_names(struct finder *finder)
{
    const struct phy_checkpoint *checkpoint = finder->model->checkpoint;
    finder->count = phy_checkpoint_tensor_count(checkpoint);
    finder->entries = phy_alloc(finder->count, sizeof *finder->entries);
    if (!finder->entries)
        return phy_fail_memory(finder->model->host, "the tensor names", finder->count * sizeof *finder->entries);
    for (size_t i = 0; i < finder->count; i++) {
        struct phy_tensor_info tensor;
        phy_checkpoint_tensor(checkpoint, i, &tensor);
        finder->entries[i] = (struct entry){tensor.name, i};
    }
    qsort(finder->entries, finder->count, sizeof *finder->entries, by_name);
    return PHY_OK;
}

enum phy_status phy_model_hand_over(struct phy_model *model)
{
    enum { PER_LAYER = 7 };
    const size_t per_layer = model->ffn_elsewhere ? 4 : PER_LAYER; /* the FFN's come last */
    size_t count = (size_t)model->config.layer_count * per_layer + 1;
    struct phy_weights **matrices = phy_alloc(count, sizeof *matrices);
    if (!matrices)
        return phy_fail_memory(model->host, "a list of matrices", count * sizeof *matrices);
    for (uint32_t i = 0; i < model->config.layer_count; i++) {
        struct phy_layer *l = &model->layers[i];
        struct phy_weights *all[PER_LAYER] = {&l->q, &l->k, &l->v, &l->o, &l->gate, &l->up, &l->down};
        memcpy(matrices + (size_t)i * per_layer, all, per_layer * sizeof *all);
    }
    matrices[count - 1] = &model->head;
    enum phy_status status = model->matmul->ops->load(model->matmul, matrices, count);
    phy_free(matrices);
    return status;
}

enum phy_status phy_model_load_weights(struct phy_model *model)
{
    static const char *const prefixes[] = {"model.", "", "model.language_model.", "language_model.model."};
    const struct phy_model_config *c = &model->config;
    struct finder finder = {.model = model, .prefix = prefixes[0]};
    struct phy_tensor_info tensor;
    char name[256];
    finder.status = map_shards(model);
    if (finder.status == PHY_OK)
        finder.status = list_names(&finder);
    for (size_t i = 0; finder.status == PHY_OK && i < sizeof prefixes / sizeof *prefixes; i++) {
        snprintf(name, sizeof name, "%sembed_tokens.weight", prefixes[i]);
        if (find(&finder, name, &tensor)) {
            finder.prefix = prefixes[i];
            break;
        }
    }
    snprintf(name, sizeof name, "%sembed_tokens.weight", finder.prefix);
    take_matrix(&finder, name, c->vocab_size, c->hidden_size, &model->embedding);
    model->head = model->embedding;
    if (!c->tied_head)
        take_matrix(&finder, "lm_head.weight", c->vocab_size, c->hidden_size, &model->head);
    snprintf(name, sizeof name, "%snorm.weight", finder.prefix);
    model->final_norm = take_vector(&finder, name, c->hidden_size);
    if (finder.status == PHY_OK) {
        model->layers = phy_zalloc(c->layer_count, sizeof *model->layers);
        if (!model->layers)
            finder.status = phy_fail_memory(model->host, "the layers", c->layer_count * sizeof *model->layers);
    }
    for (uint32_t i = 0; finder.status == PHY_OK && i < c->layer_count; i++)
        load_layer(&finder, i);
    if (finder.status == PHY_OK)
        tell_of_more_layers(&finder);
    phy_free(finder.entries);
    return finder.status == PHY_OK ? phy_model_load_device(model) : finder.status;
}

void phy_model_free_weights(struct phy_model *model)
{
    for (uint32_t i = 0; model->layers && i < model->config.layer_count; i++) {
        struct phy_layer *l = &model->layers[i];
        float *vectors[] = {
            l->q_bias,       l->k_bias, l->v_bias, l->o_bias,     l->gate_bias,           l->up_bias,
            l->down_bias,    l->q_norm, l->k_norm, l->input_norm, l->post_attention_norm, l->pre_ffn_norm,
            l->post_ffn_norm};
        for (size_t v = 0; v < sizeof vectors / sizeof *vectors; v++)
            phy_free(vectors[v]);
    }
    phy_free(model->layers);
    phy_free(model->final_norm);
    for (size_t i = 0; i < model->mapping_count; i++)
        phy_mapping_close(&model->mappings[i]);
    phy_free(model->mappings);
}
