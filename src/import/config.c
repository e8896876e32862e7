/* SPDX-License-Identifier: Apache-2.0 */
/* config.json and generation_config.json. Numbers go in as text: cJSON's own printing loses the last digit of some
 * doubles. */
#include <cjson/cJSON.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/json_write.h"
#include "base/log.h"
#include "import/import_files.h"

/* An object under construction; `failed` collects allocation failures. */
struct object {
    cJSON *json;
    bool failed;
};

static void add(struct object *o, const char *name, cJSON *value)
{
    if (!value || !cJSON_AddItemToObject(o->json, name, value)) {
        cJSON_Delete(value);
        o->failed = true;
    }
}

static void add_u64(struct object *o, const char *name, uint64_t value)
{
    char text[24];
    snprintf(text, sizeof text, "%" PRIu64, value);
    add(o, name, cJSON_CreateRaw(text));
}

static void add_double(struct object *o, const char *name, double value)
{
    char text[PHY_JSON_NUMBER_BYTES];
    add(o, name, cJSON_CreateRaw(phy_jsonw_double(text, value)));
}

/* A cap of 0 means that there is none. */
static void add_cap(struct object *o, const char *name, double value)
{
    if (value != 0)
        add_double(o, name, value);
    else
        add(o, name, cJSON_CreateNull());
}

static void add_text(struct object *o, const char *name, const char *value)
{
    add(o, name, cJSON_CreateString(value));
}

static void add_bool(struct object *o, const char *name, bool value)
{
    add(o, name, cJSON_CreateBool(value));
}

static void add_id(struct object *o, const char *name, int64_t id)
{
    if (id < 0)
        add(o, name, cJSON_CreateNull());
    else
        add_u64(o, name, (uint64_t)id);
}

static void add_texts(struct object *o, const char *name, const char *const *texts, size_t count)
{
    cJSON *array = cJSON_CreateArray();
    for (size_t i = 0; array && i < count; i++) {
        cJSON *item = cJSON_CreateString(texts[i]);
        if (!item || !cJSON_AddItemToArray(array, item)) {
            cJSON_Delete(item);
            o->failed = true;
        }
    }
    add(o, name, array);
}

/* The rope parameters of one kind of layer. */
static cJSON *rope_of(const struct import_model *model, double theta, enum import_rope rope)
{
    static const char *const names[] = {"default", "linear", "yarn", "llama3"};
    struct object o = {.json = cJSON_CreateObject()};
    if (!o.json)
        return NULL;
    if (rope != ROPE_DEFAULT)
        add_double(&o, "factor", model->rope_factor);
    if (rope == ROPE_LLAMA3) {
        add_double(&o, "high_freq_factor", model->rope_high);
        add_double(&o, "low_freq_factor", model->rope_low);
    }
    if (rope == ROPE_YARN && model->has_beta_fast)
        add_double(&o, "beta_fast", model->rope_beta_fast);
    if (rope == ROPE_YARN && model->has_beta_slow)
        add_double(&o, "beta_slow", model->rope_beta_slow);
    if (rope == ROPE_LLAMA3 || rope == ROPE_YARN)
        add_u64(&o, "original_max_position_embeddings", model->rope_original_context);
    add_double(&o, "rope_theta", theta);
    add_text(&o, "rope_type", names[rope]);
    if (!o.failed)
        return o.json;
    cJSON_Delete(o.json);
    return NULL;
}

static bool is_full_attention(const struct import_model *model, uint64_t layer)
{
    if (model->sliding_layers)
        return !model->sliding_layers[layer];
    return model->architecture->family != IMPORT_GEMMA3 || (layer + 1) % model->sliding_pattern == 0;
}

/* As many entries as layers, each of which has tensors in the file by now. */
static void add_layer_types(struct object *o, const struct import_model *model)
{
    cJSON *array = cJSON_CreateArray(), *last = NULL;
    for (uint64_t layer = 0; array && layer < model->layers; layer++) {
        last = cJSON_CreateString(is_full_attention(model, layer) ? "full_attention" : "sliding_attention");
        if (!last || !cJSON_AddItemToArray(array, last)) {
            cJSON_Delete(last);
            o->failed = true;
            break;
        }
    }
    add(o, "layer_types", array);
}

static void add_gemma3(struct object *o, const struct import_model *model)
{
    if (model->sliding_pattern)
        add_u64(o, "_sliding_window_pattern", model->sliding_pattern);
    add_bool(o, "attention_bias", false);
    add_cap(o, "attn_logit_softcapping", model->attention_softcap);
    add_cap(o, "final_logit_softcapping", model->final_softcap);
    add_u64(o, "head_dim", model->head_dim);
    add_text(o, "hidden_activation", "gelu_pytorch_tanh");
    add_layer_types(o, model);
    add_u64(o, "query_pre_attn_scalar", (uint64_t)model->query_scalar);
    struct object both = {.json = cJSON_CreateObject()};
    if (both.json) {
        /* Scaling is for the full layers alone: the others never look further than their window. */
        add(&both, "full_attention", rope_of(model, model->rope_theta, model->rope));
        add(&both, "sliding_attention", rope_of(model, model->local_rope_theta, ROPE_DEFAULT));
    }
    o->failed |= both.failed;
    add(o, "rope_parameters", both.json);
    add_u64(o, "sliding_window", model->sliding_window);
    add_bool(o, "use_bidirectional_attention", false);
}

static void add_silu_family(struct object *o, const struct import_model *model)
{
    enum import_family family = model->architecture->family;
    add_text(o, "hidden_act", "silu");
    add(o, "rope_parameters", rope_of(model, model->rope_theta, model->rope));
    if (family == IMPORT_LLAMA) {
        add_bool(o, "attention_bias", model->groups[GROUP_ATTENTION_BIAS]);
        add_bool(o, "mlp_bias", model->groups[GROUP_MLP_BIAS]);
        add_u64(o, "pretraining_tp", 1);
    } else {
        add_layer_types(o, model);
        add_u64(o, "max_window_layers", model->layers);
        add(o, "sliding_window", cJSON_CreateNull());
        add_bool(o, "use_sliding_window", false);
    }
    if (family == IMPORT_QWEN3)
        add_bool(o, "attention_bias", false);
    /* Qwen2's class takes hidden / heads unless told otherwise. */
    if (family != IMPORT_QWEN2 || model->writes_head_dim)
        add_u64(o, "head_dim", model->head_dim);
}

/* general.name, if it is text that JSON and a C string can hold. */
static enum phy_status add_model_name(struct object *o, const struct import_model *model)
{
    char *name;
    size_t bytes, index, good = 0;
    struct phy_gguf_key key;
    if (!phy_import_find(model, "general.name", &index))
        return PHY_OK;
    phy_gguf_key(model->gguf, index, &key);
    if (key.type != PHY_GGUF_STRING)
        return PHY_OK;
    enum phy_status status = phy_import_text(model, "general.name", 1 << 20, &name, &bytes);
    if (status)
        return status;
    while (good < bytes && name[good]) {
        size_t length = phy_utf8_sequence(name + good, bytes - good, NULL);
        if (length == 0)
            break;
        good += length;
    }
    if (good == bytes)
        add_text(o, "_model_name_or_path", name);
    phy_free(name);
    return PHY_OK;
}

static enum phy_status finish(const struct import_model *model, struct object *o, char **out)
{
    *out = o->json && !o->failed ? cJSON_Print(o->json) : NULL;
    cJSON_Delete(o->json);
    return *out ? PHY_OK : phy_fail_memory(model->host, "config.json", 4096);
}

enum phy_status phy_import_config(const struct import_model *model, const struct import_token_ids *ids, char **out)
{
    struct object o = {.json = cJSON_CreateObject()};
    *out = NULL;
    if (!o.json)
        return phy_fail_memory(model->host, "config.json", 4096);
    enum phy_status status = add_model_name(&o, model);
    if (status) {
        cJSON_Delete(o.json);
        return status;
    }
    add_texts(&o, "architectures", &model->architecture->class_name, 1);
    add_double(&o, "attention_dropout", 0);
    add_id(&o, "bos_token_id", ids->bos);
    add_text(&o, "dtype", "bfloat16");
    add_id(&o, "eos_token_id", ids->eos);
    add_u64(&o, "hidden_size", model->sizes[SIZE_HIDDEN]);
    add_double(&o, "initializer_range", 0.02);
    add_u64(&o, "intermediate_size", model->sizes[SIZE_INTERMEDIATE]);
    add_u64(&o, "max_position_embeddings", model->context);
    add_text(&o, "model_type", model->architecture->model_type);
    add_u64(&o, "num_attention_heads", model->heads);
    add_u64(&o, "num_hidden_layers", model->layers);
    add_u64(&o, "num_key_value_heads", model->kv_heads);
    add_id(&o, "pad_token_id", ids->pad);
    add_double(&o, "rms_norm_eps", model->epsilon);
    add_bool(&o, "tie_word_embeddings", !model->groups[GROUP_HEAD]);
    add_text(&o, "transformers_version", IMPORT_CONFIG_VERSION);
    if (ids->unknown >= 0)
        add_id(&o, "unk_token_id", ids->unknown);
    add_bool(&o, "use_cache", true);
    add_u64(&o, "vocab_size", model->sizes[SIZE_VOCAB]);
    if (model->architecture->family == IMPORT_GEMMA3)
        add_gemma3(&o, model);
    else
        add_silu_family(&o, model);
    return finish(model, &o, out);
}

enum phy_status phy_import_generation_config(const struct import_model *model, const struct import_token_ids *ids,
                                             char **out)
{
    struct object o = {.json = cJSON_CreateObject()};
    *out = NULL;
    if (!o.json)
        return phy_fail_memory(model->host, "generation_config.json", 4096);
    add_bool(&o, "_from_model_config", true);
    add_id(&o, "bos_token_id", ids->bos);
    if (ids->turn_end >= 0 && ids->eos >= 0 && ids->turn_end != ids->eos) {
        /* A chat model ends its turn with one token and a text with another: both stop generation. */
        char text[64];
        snprintf(text, sizeof text, "[%" PRId64 ", %" PRId64 "]", ids->eos, ids->turn_end);
        add(&o, "eos_token_id", cJSON_CreateRaw(text));
    } else {
        add_id(&o, "eos_token_id", ids->eos);
    }
    add_bool(&o, "output_attentions", false);
    add_bool(&o, "output_hidden_states", false);
    add_id(&o, "pad_token_id", ids->pad);
    add_text(&o, "transformers_version", IMPORT_CONFIG_VERSION);
    add_bool(&o, "use_cache", true);
    return finish(model, &o, out);
}
