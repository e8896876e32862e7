/* SPDX-License-Identifier: Apache-2.0 */
/* The keys of a GGUF file that say what the model is. A key that changes what the model computes is honoured or
 * refused; one that we have never heard of is warned about. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/checked_math.h"
#include "base/log.h"
#include "import/import_model.h"

/* JSON readers agree on whole numbers up to here. */
#define LARGEST_NUMBER (UINT64_C(1) << 53)

static void full_name(const struct import_model *model, const char *suffix, char out[128])
{
    snprintf(out, 128, "%s%s", suffix[0] == '.' ? model->architecture->name : "", suffix);
}

bool phy_import_find(const struct import_model *model, const char *suffix, size_t *index)
{
    char name[128];
    full_name(model, suffix, name);
    return phy_gguf_find_key(model->gguf, name, index);
}

enum phy_status phy_import_missing(const struct import_model *model, const char *suffix)
{
    char name[128];
    full_name(model, suffix, name);
    return phy_fail(model->host, PHY_ERR_FORMAT, "%s: header: key \"%s\" is missing", phy_gguf_file(model->gguf), name);
}

static enum phy_status wrong_kind(const struct import_model *model, size_t index, const char *wanted)
{
    struct phy_gguf_key key;
    phy_gguf_key(model->gguf, index, &key);
    return phy_gguf_fail_key(model->gguf, index, PHY_ERR_FORMAT, "type is %s where %s belongs",
                             phy_gguf_type_name(key.type), wanted);
}

enum phy_status phy_import_u64(const struct import_model *model, const char *suffix, uint64_t *out)
{
    size_t index;
    uint64_t value;
    if (!phy_import_find(model, suffix, &index))
        return PHY_OK;
    if (!phy_gguf_get_u64(model->gguf, index, &value))
        return wrong_kind(model, index, "a whole number");
    if (value >= LARGEST_NUMBER)
        return phy_gguf_fail_key(model->gguf, index, PHY_ERR_FORMAT, "%llu is out of range", (unsigned long long)value);
    *out = value;
    return PHY_OK;
}

enum phy_status phy_import_double(const struct import_model *model, const char *suffix, double *out)
{
    size_t index;
    double value;
    if (!phy_import_find(model, suffix, &index))
        return PHY_OK;
    if (!phy_gguf_get_f64(model->gguf, index, &value))
        return wrong_kind(model, index, "a number");
    if (!isfinite(value))
        return phy_gguf_fail_key(model->gguf, index, PHY_ERR_FORMAT, "value is not finite");
    *out = value;
    return PHY_OK;
}

enum phy_status phy_import_bool(const struct import_model *model, const char *suffix, bool *out)
{
    size_t index;
    if (phy_import_find(model, suffix, &index) && !phy_gguf_get_bool(model->gguf, index, out))
        return wrong_kind(model, index, "a bool");
    return PHY_OK;
}

enum phy_status phy_import_text(const struct import_model *model, const char *suffix, uint64_t max_bytes, char **out,
                                size_t *bytes)
{
    size_t index;
    struct phy_gguf_key key;
    struct phy_gguf_strings strings;
    *out = NULL;
    *bytes = 0;
    if (!phy_import_find(model, suffix, &index))
        return PHY_OK;
    phy_gguf_key(model->gguf, index, &key);
    if (key.type != PHY_GGUF_STRING)
        return wrong_kind(model, index, "a string");
    enum phy_status status = phy_gguf_load_strings(model->gguf, index, max_bytes, &strings);
    if (status)
        return status;
    const char *text = phy_gguf_string(&strings, 0, bytes);
    *out = phy_strndup(text, *bytes);
    phy_gguf_strings_free(&strings);
    return *out ? PHY_OK : phy_fail_memory(model->host, "a string", *bytes);
}

/* A whole number that must be there and not be zero. */
static enum phy_status required(const struct import_model *model, const char *suffix, uint64_t *out)
{
    *out = 0;
    enum phy_status status = phy_import_u64(model, suffix, out);
    size_t index;
    if (status || *out)
        return status;
    if (!phy_import_find(model, suffix, &index))
        return phy_import_missing(model, suffix);
    return phy_gguf_fail_key(model->gguf, index, PHY_ERR_FORMAT, "value is 0");
}

static enum phy_status find_architecture(struct import_model *model)
{
    char *name, quoted[PHY_QUOTED_BYTES];
    size_t bytes, index;
    enum phy_status status = phy_import_text(model, "general.architecture", 65536, &name, &bytes);
    if (status)
        return status;
    if (!name)
        return phy_import_missing(model, "general.architecture");
    model->architecture = strlen(name) == bytes ? phy_import_architecture(name) : NULL;
    if (!model->architecture) {
        phy_import_find(model, "general.architecture", &index);
        status = phy_gguf_fail_key(model->gguf, index, PHY_ERR_UNSUPPORTED,
                                   "architecture %s is not one of llama, qwen2, qwen3, gemma3",
                                   phy_quote(quoted, name, bytes));
    }
    phy_free(name);
    return status;
}

/* The width of a head: key_length, or for llama the rotated part, or hidden / heads. */
static enum phy_status read_head_width(struct import_model *model)
{
    uint64_t key = 0, value = 0, rotated = 0;
    size_t index;
    enum phy_status status = phy_import_u64(model, ".attention.key_length", &key);
    if (!status)
        status = phy_import_u64(model, ".attention.value_length", &value);
    if (!status)
        status = phy_import_u64(model, ".rope.dimension_count", &rotated);
    if (status)
        return status;
    uint64_t even = model->sizes[SIZE_HIDDEN] / model->heads;
    bool divides = model->sizes[SIZE_HIDDEN] % model->heads == 0;
    model->head_dim = key ? key : rotated ? rotated : even;
    if (!key && !rotated && !divides) {
        phy_import_find(model, ".attention.head_count", &index);
        return phy_gguf_fail_key(model->gguf, index, PHY_ERR_FORMAT, "%llu heads do not divide embedding_length %llu",
                                 (unsigned long long)model->heads, (unsigned long long)model->sizes[SIZE_HIDDEN]);
    }
    if (value && value != model->head_dim && phy_import_find(model, ".attention.value_length", &index))
        return phy_gguf_fail_key(model->gguf, index, PHY_ERR_UNSUPPORTED,
                                 "values of %llu beside keys of %llu are not supported", (unsigned long long)value,
                                 (unsigned long long)model->head_dim);
    if (rotated && rotated != model->head_dim && phy_import_find(model, ".rope.dimension_count", &index))
        return phy_gguf_fail_key(model->gguf, index, PHY_ERR_UNSUPPORTED,
                                 "rotating %llu of %llu dimensions is not supported", (unsigned long long)rotated,
                                 (unsigned long long)model->head_dim);
    model->writes_head_dim = !divides || model->head_dim != even;
    return PHY_OK;
}

static enum phy_status read_heads(struct import_model *model)
{
    enum phy_status status = required(model, ".attention.head_count", &model->heads);
    model->kv_heads = model->heads;
    if (!status && phy_import_find(model, ".attention.head_count_kv", &(size_t){0}))
        status = required(model, ".attention.head_count_kv", &model->kv_heads);
    if (!status)
        status = read_head_width(model);
    if (status)
        return status;
    size_t index = 0;
    phy_import_find(model, ".attention.head_count", &index);
    if (model->heads % model->kv_heads)
        return phy_gguf_fail_key(model->gguf, index, PHY_ERR_FORMAT,
                                 "%llu heads are not shared evenly by %llu kv heads", (unsigned long long)model->heads,
                                 (unsigned long long)model->kv_heads);
    if (model->head_dim % 2)
        return phy_gguf_fail_key(model->gguf, index, PHY_ERR_FORMAT, "a head of %llu dimensions cannot be rotated",
                                 (unsigned long long)model->head_dim);
    if (__builtin_mul_overflow(model->heads, model->head_dim, &model->sizes[SIZE_QUERY]) ||
        __builtin_mul_overflow(model->kv_heads, model->head_dim, &model->sizes[SIZE_KEY]))
        return phy_gguf_fail_key(model->gguf, index, PHY_ERR_FORMAT, "%llu heads of %llu dimensions overflow",
                                 (unsigned long long)model->heads, (unsigned long long)model->head_dim);
    model->sizes[SIZE_HEAD] = model->head_dim;
    return PHY_OK;
}

/* vocab_size, or the length of the token list, or the rows of the embedding. */
static enum phy_status read_vocabulary_size(struct import_model *model)
{
    size_t tokens;
    uint64_t vocab = 0;
    struct phy_gguf_key key = {.count = 0};
    enum phy_status status = phy_import_u64(model, ".vocab_size", &vocab);
    if (status)
        return status;
    if (phy_gguf_find_key(model->gguf, "tokenizer.ggml.tokens", &tokens))
        phy_gguf_key(model->gguf, tokens, &key);
    if (vocab && key.count && vocab != key.count)
        return phy_gguf_fail_key(model->gguf, tokens, PHY_ERR_FORMAT, "%llu tokens, but vocab_size is %llu",
                                 (unsigned long long)key.count, (unsigned long long)vocab);
    model->sizes[SIZE_VOCAB] = vocab ? vocab : key.count;
    size_t embedding;
    if (!model->sizes[SIZE_VOCAB] && phy_gguf_find_tensor(model->gguf, "token_embd.weight", &embedding))
        model->sizes[SIZE_VOCAB] = phy_gguf_tensor_dims(model->gguf, embedding)[1];
    if (!model->sizes[SIZE_VOCAB] && phy_gguf_find_tensor(model->gguf, "token_embd.weight", &embedding))
        return phy_gguf_fail_tensor(model->gguf, embedding, PHY_ERR_FORMAT, "no rows, and no tokens in the file");
    return PHY_OK;
}

/* ---- rotary embedding ---- */

static enum phy_status read_yarn(struct import_model *model)
{
    size_t index;
    static const char *const refused[] = {".rope.scaling.yarn_log_multiplier", ".rope.scaling.yarn_ext_factor",
                                          ".rope.scaling.yarn_attn_factor"};
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
        if (phy_import_find(model, refused[i], &index))
            return phy_gguf_fail_key(model->gguf, index, PHY_ERR_UNSUPPORTED, "this scaling is not supported");
    }
    model->has_beta_fast = phy_import_find(model, ".rope.scaling.yarn_beta_fast", &index);
    model->has_beta_slow = phy_import_find(model, ".rope.scaling.yarn_beta_slow", &index);
    enum phy_status status = phy_import_double(model, ".rope.scaling.yarn_beta_fast", &model->rope_beta_fast);
    if (!status)
        status = phy_import_double(model, ".rope.scaling.yarn_beta_slow", &model->rope_beta_slow);
    if (!status && !model->rope_original_context)
        status = phy_import_missing(model, ".rope.scaling.original_context_length");
    return status;
}

static enum phy_status read_rope_scaling(struct import_model *model)
{
    char *type = NULL, quoted[PHY_QUOTED_BYTES];
    size_t bytes = 0, index;
    double legacy = 0;
    model->rope_factor = 0;
    enum phy_status status = phy_import_text(model, ".rope.scaling.type", 65536, &type, &bytes);
    if (!status)
        status = phy_import_double(model, ".rope.scaling.factor", &model->rope_factor);
    if (!status)
        status = phy_import_double(model, ".rope.scale_linear", &legacy);
    if (!status)
        status = phy_import_u64(model, ".rope.scaling.original_context_length", &model->rope_original_context);
    if (!status && phy_import_find(model, ".rope.scaling.attn_factor", &index)) {
        model->rope_attention_factor = 1;
        status = phy_import_double(model, ".rope.scaling.attn_factor", &model->rope_attention_factor);
        if (!status && model->rope_attention_factor != 1)
            status = phy_gguf_fail_key(model->gguf, index, PHY_ERR_UNSUPPORTED, "a factor of %g is not supported",
                                       model->rope_attention_factor);
    }
    if (model->rope_factor == 0)
        model->rope_factor = legacy;
    bool scaled = model->rope_factor != 0 && model->rope_factor != 1;
    if (status) {
        phy_free(type);
        return status;
    }
    /* Without a type the factor is linear: that is what it meant before types were written. */
    if (!type || strcmp(type, "linear") == 0) {
        model->rope = scaled ? ROPE_LINEAR : ROPE_DEFAULT;
    } else if (strcmp(type, "yarn") == 0 && scaled) {
        model->rope = ROPE_YARN;
        status = read_yarn(model);
    } else if (strcmp(type, "none") != 0 && strcmp(type, "yarn") != 0) {
        phy_import_find(model, ".rope.scaling.type", &index);
        status = phy_gguf_fail_key(model->gguf, index, PHY_ERR_UNSUPPORTED,
                                   "scaling %s is not one of none, linear, yarn", phy_quote(quoted, type, bytes));
    }
    phy_free(type);
    return status;
}

/* ---- gemma3 ---- */

/* Every n-th layer is full, or a list says for each layer whether it slides. */
static enum phy_status read_sliding_pattern(struct import_model *model)
{
    size_t index;
    struct phy_gguf_key key;
    model->sliding_pattern = 6; /* five sliding layers, then a full one: a constant of the architecture */
    if (!phy_import_find(model, ".attention.sliding_window_pattern", &index))
        return PHY_OK;
    phy_gguf_key(model->gguf, index, &key);
    if (key.type != PHY_GGUF_ARRAY)
        return required(model, ".attention.sliding_window_pattern", &model->sliding_pattern);
    if (key.count != model->layers)
        return phy_gguf_fail_key(model->gguf, index, PHY_ERR_FORMAT, "%llu values for %llu layers",
                                 (unsigned long long)key.count, (unsigned long long)model->layers);
    model->sliding_pattern = 0;
    model->sliding_layers = phy_alloc((size_t)model->layers, 1);
    if (!model->sliding_layers)
        return phy_fail_memory(model->host, "layers", (size_t)model->layers);
    enum phy_status status = PHY_OK;
    for (uint64_t done = 0; done < model->layers && !status;) {
        int64_t slides[256];
        size_t take = (size_t)phy_min_u64(model->layers - done, 256);
        status = phy_gguf_load_i64(model->gguf, index, done, take, slides);
        for (size_t i = 0; i < take && !status; i++)
            model->sliding_layers[done + i] = slides[i] != 0;
        done += take;
    }
    return status;
}

static enum phy_status read_gemma3(struct import_model *model)
{
    model->local_rope_theta = 10000;
    enum phy_status status = required(model, ".attention.sliding_window", &model->sliding_window);
    if (!status)
        status = read_sliding_pattern(model);
    if (!status)
        status = phy_import_double(model, ".rope.freq_base_swa", &model->local_rope_theta);
    if (!status)
        status = phy_import_double(model, ".attn_logit_softcapping", &model->attention_softcap);
    if (!status)
        status = phy_import_double(model, ".final_logit_softcapping", &model->final_softcap);
    /* The largest size, known by its 62 layers, scales by hidden / heads; the others by the width of a head. */
    model->query_scalar = (double)(model->layers == 62 ? model->sizes[SIZE_HIDDEN] / model->heads : model->head_dim);
    return status;
}

/* ---- everything else ---- */

/* Keys whose meaning we know to be nothing that config.json must say. */
static const char *const harmless[] = {
    ".block_count",
    ".context_length",
    ".embedding_length",
    ".feed_forward_length",
    ".vocab_size",
    ".attention.head_count",
    ".attention.head_count_kv",
    ".attention.key_length",
    ".attention.value_length",
    ".attention.layer_norm_rms_epsilon",
    ".rope.dimension_count",
    ".rope.freq_base",
    ".rope.freq_base_swa",
    ".rope.scale_linear",
    ".rope.scaling.type",
    ".rope.scaling.factor",
    ".rope.scaling.original_context_length",
    ".rope.scaling.finetuned",
    ".rope.scaling.attn_factor",
    ".rope.scaling.yarn_beta_fast",
    ".rope.scaling.yarn_beta_slow",
    ".attention.sliding_window",
    ".attention.sliding_window_pattern",
    ".attn_logit_softcapping",
    ".final_logit_softcapping",
    ".tensor_data_layout",
    ".expert_count",
    ".expert_used_count",
    ".mm.tokens_per_image",
    ".attention.causal",
};

static bool is_harmless(const char *suffix)
{
    for (size_t i = 0; i < sizeof harmless / sizeof harmless[0]; i++) {
        if (strcmp(harmless[i], suffix) == 0)
            return true;
    }
    return false;
}

/* Refuse what changes the arithmetic in ways that the HF class has no word for; warn of what we do not know. */
static enum phy_status check_other_keys(const struct import_model *model)
{
    const char *name = model->architecture->name;
    size_t prefix = strlen(name), index;
    uint64_t experts = 0, window = 0;
    bool causal = true;
    enum phy_status status = phy_import_u64(model, ".expert_count", &experts);
    if (!status && experts && phy_import_find(model, ".expert_count", &index))
        return phy_gguf_fail_key(model->gguf, index, PHY_ERR_UNSUPPORTED, "a mixture of %llu experts is not supported",
                                 (unsigned long long)experts);
    if (!status)
        status = phy_import_bool(model, ".attention.causal", &causal);
    if (!status && !causal && phy_import_find(model, ".attention.causal", &index))
        return phy_gguf_fail_key(model->gguf, index, PHY_ERR_UNSUPPORTED, "attention that is not causal");
    if (!status && model->architecture->family != IMPORT_GEMMA3)
        status = phy_import_u64(model, ".attention.sliding_window", &window);
    if (!status && window && phy_import_find(model, ".attention.sliding_window", &index))
        return phy_gguf_fail_key(model->gguf, index, PHY_ERR_UNSUPPORTED, "a sliding window is not supported for %s",
                                 name);
    for (size_t i = 0; i < phy_gguf_key_count(model->gguf) && !status; i++) {
        struct phy_gguf_key key;
        phy_gguf_key(model->gguf, i, &key);
        if (strncmp(key.name, name, prefix) != 0 || key.name[prefix] != '.' || is_harmless(key.name + prefix))
            continue;
        char quoted[PHY_QUOTED_BYTES];
        phy_warn(model->host, "%s: key %zu %s: not known, ignored", phy_gguf_file(model->gguf), i,
                 phy_quote(quoted, key.name, key.name_bytes));
    }
    return status;
}

static enum phy_status check_not_split(const struct import_model *model)
{
    uint64_t parts = 0;
    size_t index = 0;
    enum phy_status status = phy_import_u64(model, "split.count", &parts);
    if (status || parts <= 1)
        return status;
    phy_import_find(model, "split.count", &index);
    return phy_gguf_fail_key(model->gguf, index, PHY_ERR_UNSUPPORTED,
                             "one of %llu parts; join them into one file first", (unsigned long long)parts);
}

enum phy_status phy_import_read_keys(struct import_model *model)
{
    enum phy_status status = check_not_split(model);
    if (!status)
        status = find_architecture(model);
    if (!status)
        status = required(model, ".block_count", &model->layers);
    if (!status)
        status = required(model, ".embedding_length", &model->sizes[SIZE_HIDDEN]);
    if (!status)
        status = required(model, ".feed_forward_length", &model->sizes[SIZE_INTERMEDIATE]);
    if (!status)
        status = required(model, ".context_length", &model->context);
    if (!status)
        status = read_heads(model);
    if (!status)
        status = read_vocabulary_size(model);
    if (!status && !phy_import_find(model, ".attention.layer_norm_rms_epsilon", &(size_t){0}))
        status = phy_import_missing(model, ".attention.layer_norm_rms_epsilon");
    if (!status)
        status = phy_import_double(model, ".attention.layer_norm_rms_epsilon", &model->epsilon);
    model->rope_theta = 10000;
    if (!status)
        status = phy_import_double(model, ".rope.freq_base", &model->rope_theta);
    if (!status)
        status = read_rope_scaling(model);
    if (!status && model->architecture->family == IMPORT_GEMMA3)
        status = read_gemma3(model);
    return status ? status : check_other_keys(model);
}
