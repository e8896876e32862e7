/* SPDX-License-Identifier: Apache-2.0 */
#include "model/config.h"

#include <cjson/cJSON.h>
#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "base/log.h"

struct parser {
    const cJSON *root;
    const char *file;
    const struct phy_host *host;
    enum phy_status status; /* the first failure; later calls do nothing */
};

static void fail(struct parser *p, enum phy_status status, const char *key, const char *fact)
{
    if (p->status == PHY_OK)
        p->status = phy_fail(p->host, status, "%s: \"%s\": %s", p->file, key, fact);
}

/* A member that is there and not null; NULL otherwise. */
static const cJSON *member(const cJSON *object, const char *key)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, key);
    return item && !cJSON_IsNull(item) ? item : NULL;
}

static uint32_t to_u32(struct parser *p, const cJSON *item, const char *key, uint32_t low, uint32_t high)
{
    if (!cJSON_IsNumber(item) || !(item->valuedouble >= low && item->valuedouble <= high) ||
        item->valuedouble != floor(item->valuedouble)) {
        if (p->status == PHY_OK)
            p->status = phy_fail(p->host, PHY_ERR_FORMAT, "%s: \"%s\": not a whole number from %u to %u", p->file, key,
                                 low, high);
        return low;
    }
    return (uint32_t)item->valuedouble;
}

static uint32_t need_u32(struct parser *p, const char *key, uint32_t low, uint32_t high)
{
    const cJSON *item = member(p->root, key);
    if (!item)
        fail(p, PHY_ERR_FORMAT, key, "missing");
    return item ? to_u32(p, item, key, low, high) : low;
}

static uint32_t want_u32(struct parser *p, const char *key, uint32_t low, uint32_t high, uint32_t otherwise)
{
    const cJSON *item = member(p->root, key);
    return item ? to_u32(p, item, key, low, high) : otherwise;
}

static double to_double(struct parser *p, const cJSON *object, const char *key, double low, double high,
                        const double *otherwise)
{
    const cJSON *item = member(object, key);
    if (!item && otherwise)
        return *otherwise;
    if (!cJSON_IsNumber(item) || !(item->valuedouble >= low && item->valuedouble <= high)) {
        if (p->status == PHY_OK)
            p->status = phy_fail(p->host, PHY_ERR_FORMAT, "%s: \"%s\": %s", p->file, key,
                                 item ? "not a number in its range" : "missing");
        return low;
    }
    return item->valuedouble;
}

static bool want_bool(struct parser *p, const char *key, bool otherwise)
{
    const cJSON *item = member(p->root, key);
    if (item && !cJSON_IsBool(item))
        fail(p, PHY_ERR_FORMAT, key, "neither true nor false");
    return item ? cJSON_IsTrue(item) : otherwise;
}

/* A text member; `otherwise` when it is absent. */
static const char *want_text(struct parser *p, const cJSON *object, const char *key, const char *otherwise)
{
    const cJSON *item = member(object, key);
    if (item && !cJSON_IsString(item))
        fail(p, PHY_ERR_FORMAT, key, "not a string");
    return item && cJSON_IsString(item) ? item->valuestring : otherwise;
}

static void unsupported_text(struct parser *p, const char *key, const char *value)
{
    char quoted[PHY_QUOTED_BYTES];
    if (p->status == PHY_OK)
        p->status = phy_fail(p->host, PHY_ERR_UNSUPPORTED, "%s: \"%s\" is %s, which is not supported", p->file, key,
                             phy_quote(quoted, value, strlen(value)));
}

/* Settings that change the numbers and that we do not compute: absent, null or their neutral value. */
static void refuse_if_set(struct parser *p, const char *key)
{
    const cJSON *item = member(p->root, key);
    if (item && !cJSON_IsFalse(item) && !(cJSON_IsNumber(item) && item->valuedouble == 0.0))
        fail(p, PHY_ERR_UNSUPPORTED, key, "is set, which is not supported");
}

static void refuse_partial_rotary(struct parser *p, const cJSON *object)
{
    const cJSON *partial = member(object, "partial_rotary_factor");
    if (partial && !(cJSON_IsNumber(partial) && partial->valuedouble == 1.0))
        fail(p, PHY_ERR_UNSUPPORTED, "partial_rotary_factor", "is set, which is not supported");
}

static const struct {
    const char *model_type, *class_name;
    enum phy_architecture architecture;
} architectures[] = {
    {"llama", "LlamaForCausalLM", PHY_ARCH_LLAMA},         {"mistral", "MistralForCausalLM", PHY_ARCH_MISTRAL},
    {"qwen2", "Qwen2ForCausalLM", PHY_ARCH_QWEN2},         {"qwen3", "Qwen3ForCausalLM", PHY_ARCH_QWEN3},
    {"gemma3_text", "Gemma3ForCausalLM", PHY_ARCH_GEMMA3},
};

static void parse_architecture(struct parser *p, struct phy_model_config *c)
{
    const char *type = want_text(p, p->root, "model_type", NULL);
    if (!type) {
        fail(p, PHY_ERR_FORMAT, "model_type", "missing");
        return;
    }
    for (size_t i = 0; i < sizeof architectures / sizeof *architectures; i++) {
        if (strcmp(type, architectures[i].model_type) == 0) {
            c->architecture = architectures[i].architecture;
            c->model_type = architectures[i].model_type;
            const cJSON *classes = member(p->root, "architectures");
            const cJSON *first = cJSON_IsArray(classes) ? cJSON_GetArrayItem(classes, 0) : NULL;
            if (cJSON_IsString(first) && strcmp(first->valuestring, architectures[i].class_name) != 0)
                unsupported_text(p, "architectures", first->valuestring);
            return;
        }
    }
    unsupported_text(p, "model_type", type);
}

/* One rope description. `object` holds rope_type (or the older type), factor ...; theta stands in it or is given. */
static void parse_rope(struct parser *p, const cJSON *object, const double *theta, struct phy_rope_config *rope)
{
    static const double two_pi_limit = 1e12;
    *rope = (struct phy_rope_config){.factor = 1.0};
    rope->theta = to_double(p, object, "rope_theta", 1.0, two_pi_limit, theta);
    refuse_partial_rotary(p, object);
    const char *kind = want_text(p, object, "rope_type", want_text(p, object, "type", "default"));
    if (strcmp(kind, "default") == 0)
        return;
    const bool linear = strcmp(kind, "linear") == 0;
    if (!linear && strcmp(kind, "llama3") != 0) {
        unsupported_text(p, "rope_type", kind); /* before its other members: kinds differ in what they have */
        return;
    }
    rope->factor = to_double(p, object, "factor", 1e-3, 1e6, NULL);
    if (linear) {
        rope->kind = PHY_ROPE_LINEAR;
    } else {
        rope->kind = PHY_ROPE_LLAMA3;
        rope->low_freq_factor = to_double(p, object, "low_freq_factor", 1e-6, 1e6, NULL);
        rope->high_freq_factor = to_double(p, object, "high_freq_factor", 1e-6, 1e6, NULL);
        const cJSON *original = member(object, "original_max_position_embeddings");
        if (original)
            rope->original_max_positions = to_u32(p, original, "original_max_position_embeddings", 1, 1u << 30);
        else
            fail(p, PHY_ERR_FORMAT, "original_max_position_embeddings", "missing");
        if (p->status == PHY_OK && rope->high_freq_factor <= rope->low_freq_factor)
            fail(p, PHY_ERR_FORMAT, "high_freq_factor", "not above low_freq_factor");
    }
}

/* Both spellings: rope_parameters (one, or one for each kind of layer), or rope_theta, rope_scaling,
 * rope_local_base_freq. */
static void parse_ropes(struct parser *p, struct phy_model_config *c)
{
    const cJSON *parameters = member(p->root, "rope_parameters");
    const double default_theta = 10000.0;
    const cJSON *full = parameters ? member(parameters, "full_attention") : NULL;
    const cJSON *sliding = parameters ? member(parameters, "sliding_attention") : NULL;
    if (parameters && (full || sliding)) {
        if (!cJSON_IsObject(full) || !cJSON_IsObject(sliding)) {
            fail(p, PHY_ERR_FORMAT, "rope_parameters", "needs both full_attention and sliding_attention");
            return;
        }
        parse_rope(p, full, NULL, &c->rope);
        parse_rope(p, sliding, NULL, &c->sliding_rope);
        return;
    }
    if (parameters) {
        if (!cJSON_IsObject(parameters)) {
            fail(p, PHY_ERR_FORMAT, "rope_parameters", "not an object");
            return;
        }
        double theta = to_double(p, p->root, "rope_theta", 1.0, 1e12, &default_theta);
        parse_rope(p, parameters, &theta, &c->rope);
        c->sliding_rope = c->rope;
        if (c->architecture == PHY_ARCH_GEMMA3)
            fail(p, PHY_ERR_FORMAT, "rope_parameters", "needs full_attention and sliding_attention");
        return;
    }
    bool gemma = c->architecture == PHY_ARCH_GEMMA3;
    const double gemma_theta = 1000000.0;
    double theta = to_double(p, p->root, "rope_theta", 1.0, 1e12, gemma ? &gemma_theta : &default_theta);
    const cJSON *scaling = member(p->root, "rope_scaling");
    if (scaling && !cJSON_IsObject(scaling)) {
        fail(p, PHY_ERR_FORMAT, "rope_scaling", "not an object");
        return;
    }
    cJSON none = {.type = cJSON_Object};
    parse_rope(p, scaling ? scaling : &none, &theta, &c->rope);
    c->sliding_rope = c->rope;
    if (gemma) {
        c->sliding_rope = (struct phy_rope_config){.factor = 1.0};
        c->sliding_rope.theta = to_double(p, p->root, "rope_local_base_freq", 1.0, 1e12, &default_theta);
    }
}

static void parse_layer_types(struct parser *p, struct phy_model_config *c, const cJSON *types)
{
    if (!cJSON_IsArray(types) || cJSON_GetArraySize(types) != (int)c->layer_count) {
        fail(p, PHY_ERR_FORMAT, "layer_types", "not an array with one text for each layer");
        return;
    }
    uint32_t i = 0;
    const cJSON *item;
    cJSON_ArrayForEach(item, types)
    {
        if (!cJSON_IsString(item)) {
            fail(p, PHY_ERR_FORMAT, "layer_types", "holds something that is not a string");
            return;
        }
        bool sliding = strcmp(item->valuestring, "sliding_attention") == 0;
        if (!sliding && strcmp(item->valuestring, "full_attention") != 0) {
            unsupported_text(p, "layer_types", item->valuestring);
            return;
        }
        c->sliding[i++] = sliding;
    }
}

static void parse_windows(struct parser *p, struct phy_model_config *c)
{
    /* Mistral's class has a window where the key is absent, and none where it is null. */
    const bool absent = !cJSON_GetObjectItemCaseSensitive(p->root, "sliding_window");
    uint32_t window =
        want_u32(p, "sliding_window", 1, 1u << 30, absent && c->architecture == PHY_ARCH_MISTRAL ? 4096 : 0);
    bool gemma = c->architecture == PHY_ARCH_GEMMA3,
         qwen = c->architecture == PHY_ARCH_QWEN2 || c->architecture == PHY_ARCH_QWEN3;
    if (qwen && !want_bool(p, "use_sliding_window", false))
        window = 0;
    if (c->architecture == PHY_ARCH_LLAMA)
        window = 0;
    const cJSON *types = member(p->root, "layer_types");
    if (types) {
        parse_layer_types(p, c, types);
    } else if (gemma) {
        const uint32_t six = want_u32(p, "_sliding_window_pattern", 1, PHY_MAX_LAYERS, 6);
        uint32_t pattern = want_u32(p, "sliding_window_pattern", 1, PHY_MAX_LAYERS, six);
        for (uint32_t i = 0; i < c->layer_count; i++)
            c->sliding[i] = (i + 1) % pattern != 0;
    } else if (c->architecture == PHY_ARCH_MISTRAL) {
        for (uint32_t i = 0; i < c->layer_count; i++)
            c->sliding[i] = window != 0;
    } else if (window) {
        uint32_t first = want_u32(p, "max_window_layers", 0, PHY_MAX_LAYERS, 28);
        for (uint32_t i = 0; i < c->layer_count; i++)
            c->sliding[i] = i >= first;
    }
    bool any = false;
    for (uint32_t i = 0; i < c->layer_count; i++)
        any |= c->sliding[i];
    if (any && !window)
        fail(p, PHY_ERR_FORMAT, "sliding_window", "missing, and layer_types has sliding layers");
    c->sliding_window = window;
}

static void parse_tokens(struct parser *p, struct phy_model_config *c)
{
    c->bos = want_u32(p, "bos_token_id", 0, UINT32_MAX - 1, UINT32_MAX);
    const cJSON *eos = member(p->root, "eos_token_id");
    if (cJSON_IsArray(eos)) {
        const cJSON *item;
        cJSON_ArrayForEach(item, eos)
        {
            if (c->eos_count == PHY_MAX_EOS) {
                fail(p, PHY_ERR_LIMIT, "eos_token_id", "more than 8 tokens");
                return;
            }
            c->eos[c->eos_count++] = to_u32(p, item, "eos_token_id", 0, UINT32_MAX - 1);
        }
    } else if (eos) {
        c->eos[c->eos_count++] = to_u32(p, eos, "eos_token_id", 0, UINT32_MAX - 1);
    }
}

static void parse_sizes(struct parser *p, struct phy_model_config *c)
{
    c->vocab_size = need_u32(p, "vocab_size", 1, 1u << 24);
    c->hidden_size = need_u32(p, "hidden_size", 1, 1u << 20);
    c->intermediate_size = need_u32(p, "intermediate_size", 1, 1u << 22);
    c->layer_count = need_u32(p, "num_hidden_layers", 1, PHY_MAX_LAYERS);
    c->head_count = need_u32(p, "num_attention_heads", 1, 4096);
    c->kv_head_count = want_u32(p, "num_key_value_heads", 1, 4096, c->head_count);
    c->max_positions = need_u32(p, "max_position_embeddings", 1, 1u << 28);
    uint32_t per_head = c->hidden_size / c->head_count;
    c->head_dim = want_u32(p, "head_dim", 2, 4096, c->architecture == PHY_ARCH_GEMMA3 ? 256 : per_head);
    if (p->status != PHY_OK)
        return;
    if (c->head_count % c->kv_head_count)
        fail(p, PHY_ERR_FORMAT, "num_key_value_heads", "does not divide num_attention_heads");
    if (!member(p->root, "head_dim") && c->architecture != PHY_ARCH_GEMMA3 && c->hidden_size % c->head_count)
        fail(p, PHY_ERR_FORMAT, "num_attention_heads", "does not divide hidden_size, and there is no head_dim");
    if (c->head_dim % 2)
        fail(p, PHY_ERR_FORMAT, "head_dim", "is odd");
}

static void parse_kinds(struct parser *p, struct phy_model_config *c)
{
    bool gemma = c->architecture == PHY_ARCH_GEMMA3;
    const char *key = gemma ? "hidden_activation" : "hidden_act";
    const char *activation = want_text(p, p->root, key, gemma ? "gelu_pytorch_tanh" : "silu");
    if (strcmp(activation, gemma ? "gelu_pytorch_tanh" : "silu") != 0)
        unsupported_text(p, key, activation);
    c->activation = gemma ? PHY_ACT_GELU_TANH : PHY_ACT_SILU;
    c->norm_eps = to_double(p, p->root, "rms_norm_eps", 0.0, 1.0, &(double){1e-6});
    c->tied_head = want_bool(p, "tie_word_embeddings", gemma);
    /* Qwen2 has biases on q, k and v whatever its config says, and none on o. */
    bool bias = want_bool(p, "attention_bias", false);
    c->attention_bias = c->architecture == PHY_ARCH_QWEN2 || bias;
    c->output_bias = c->architecture != PHY_ARCH_QWEN2 && bias;
    c->mlp_bias = want_bool(p, "mlp_bias", false);
    double head = c->head_dim;
    if (gemma)
        head = to_double(p, p->root, "query_pre_attn_scalar", 1e-6, 1e9, &(double){256.0});
    c->query_scale = 1.0 / sqrt(head > 0 ? head : 1.0);
    refuse_if_set(p, "attn_logit_softcapping");
    refuse_if_set(p, "final_logit_softcapping");
    refuse_if_set(p, "use_bidirectional_attention");
    refuse_if_set(p, "num_local_experts");
    refuse_if_set(p, "num_experts");
    refuse_if_set(p, "quantization_config");
    refuse_partial_rotary(p, p->root);
}

enum phy_status phy_model_config_parse(struct phy_model_config *out, const char *text, size_t bytes, const char *file,
                                       const struct phy_host *host)
{
    *out = (struct phy_model_config){0};
    const char *end = NULL;
    cJSON *root = memchr(text, 0, bytes) ? NULL : cJSON_ParseWithLengthOpts(text, bytes, &end, false);
    while (root && end < text + bytes && strchr(" \t\r\n", *end))
        end++;
    if (!root || end != text + bytes) {
        cJSON_Delete(root);
        return phy_fail(host, PHY_ERR_FORMAT, "%s: not JSON near byte %zu", file, end ? (size_t)(end - text) : 0);
    }
    struct parser p = {.root = root, .file = file, .host = host};
    if (!cJSON_IsObject(root)) {
        p.status = phy_fail(host, PHY_ERR_FORMAT, "%s: not a JSON object", file);
    } else {
        parse_architecture(&p, out);
        if (p.status == PHY_OK)
            parse_sizes(&p, out);
        if (p.status == PHY_OK)
            parse_kinds(&p, out);
        if (p.status == PHY_OK)
            parse_ropes(&p, out);
        if (p.status == PHY_OK)
            parse_windows(&p, out);
        if (p.status == PHY_OK)
            parse_tokens(&p, out);
    }
    cJSON_Delete(root);
    return p.status;
}
