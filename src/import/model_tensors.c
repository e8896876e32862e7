/* SPDX-License-Identifier: Apache-2.0 */
/* Every tensor of the file has a place in the output, or the file is refused. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/checked_math.h"
#include "base/log.h"
#include "import/import_model.h"

static const char *const size_names[SIZE_COUNT] = {[SIZE_HIDDEN] = "embedding_length",
                                                   [SIZE_INTERMEDIATE] = "feed_forward_length",
                                                   [SIZE_QUERY] = "heads x head",
                                                   [SIZE_KEY] = "kv heads x head",
                                                   [SIZE_HEAD] = "head",
                                                   [SIZE_VOCAB] = "vocabulary"};

static const struct import_rule *find_rule(const struct import_rule *rules, const char *name)
{
    for (const struct import_rule *rule = rules; rule->gguf; rule++) {
        if (strcmp(rule->gguf, name) == 0)
            return rule;
    }
    return NULL;
}

/* "blk.12.attn_q.weight" to 12 and "attn_q.weight"; NULL for another form. No leading zeros: a name has one spelling.
 */
static const char *split_layer(const char *name, uint64_t *layer)
{
    if (strncmp(name, "blk.", 4) != 0)
        return NULL;
    const char *digit = name + 4;
    *layer = 0;
    if (*digit == '0' && digit[1] != '.')
        return NULL;
    for (; *digit >= '0' && *digit <= '9'; digit++) {
        if (__builtin_mul_overflow(*layer, 10u, layer) ||
            __builtin_add_overflow(*layer, (unsigned)(*digit - '0'), layer))
            return NULL;
    }
    return digit > name + 4 && *digit == '.' ? digit + 1 : NULL;
}

static enum phy_status check_known(struct import_model *model, size_t index)
{
    struct phy_gguf_tensor t;
    uint64_t layer = 0;
    phy_gguf_tensor(model->gguf, index, &t);
    const char *rest = split_layer(t.name, &layer);
    const struct import_rule *rule =
        rest ? find_rule(model->architecture->layer_rules, rest) : find_rule(model->architecture->model_rules, t.name);
    if (!rule && strcmp(t.name, "rope_freqs.weight") == 0)
        return PHY_OK;
    if (!rule)
        return phy_gguf_fail_tensor(model->gguf, index, PHY_ERR_UNSUPPORTED,
                                    "%s models with such a tensor are not supported", model->architecture->name);
    if (rest && layer >= model->layers)
        return phy_gguf_fail_tensor(model->gguf, index, PHY_ERR_FORMAT,
                                    "there is no layer %" PRIu64 ": block_count is %" PRIu64, layer, model->layers);
    model->groups[rule->group] = true;
    return PHY_OK;
}

static enum phy_status check_shape(const struct import_model *model, const struct import_tensor *tensor,
                                   const struct phy_gguf_tensor *t)
{
    const struct import_rule *rule = tensor->rule;
    bool vector = rule->columns == SIZE_NONE;
    enum import_size fastest = vector ? rule->rows : rule->columns;
    uint32_t dims = vector ? 1 : 2;
    if (t->dim_count != dims)
        return phy_gguf_fail_tensor(model->gguf, tensor->gguf_index, PHY_ERR_FORMAT, "%u dimensions, not %u",
                                    t->dim_count, dims);
    if (t->dims[0] != model->sizes[fastest])
        return phy_gguf_fail_tensor(model->gguf, tensor->gguf_index, PHY_ERR_FORMAT,
                                    "dimension 0 is %" PRIu64 ", the keys say %" PRIu64 " (%s)", t->dims[0],
                                    model->sizes[fastest], size_names[fastest]);
    if (!vector && t->dims[1] != model->sizes[rule->rows])
        return phy_gguf_fail_tensor(model->gguf, tensor->gguf_index, PHY_ERR_FORMAT,
                                    "dimension 1 is %" PRIu64 ", the keys say %" PRIu64 " (%s)", t->dims[1],
                                    model->sizes[rule->rows], size_names[rule->rows]);
    return PHY_OK;
}

static enum phy_status plan_one(struct import_model *model, const struct import_rule *rule, uint64_t layer,
                                bool in_layer)
{
    char name[64];
    size_t index;
    if (in_layer)
        snprintf(name, sizeof name, "blk.%" PRIu64 ".%s", layer, rule->gguf);
    else
        snprintf(name, sizeof name, "%s", rule->gguf);
    if (!phy_gguf_find_tensor(model->gguf, name, &index)) {
        if (rule->group != GROUP_REQUIRED && !model->groups[rule->group])
            return PHY_OK;
        return phy_fail(model->host, rule->group == GROUP_REQUIRED ? PHY_ERR_FORMAT : PHY_ERR_UNSUPPORTED,
                        "%s: header: tensor \"%s\" is missing%s", phy_gguf_file(model->gguf), name,
                        rule->group == GROUP_REQUIRED ? "" : ": biases must be everywhere or nowhere");
    }
    struct phy_gguf_tensor t;
    phy_gguf_tensor(model->gguf, index, &t);
    struct import_tensor *tensor = &model->tensors[model->tensor_count];
    *tensor = (struct import_tensor){.gguf_index = index, .rule = rule, .layer = layer, .in_layer = in_layer};
    enum phy_status status = check_shape(model, tensor, &t);
    if (status)
        return status;
    tensor->format = phy_quant_by_gguf_id(t.type);
    if (!tensor->format)
        return phy_gguf_fail_tensor(model->gguf, index, PHY_ERR_UNSUPPORTED, "type %s cannot be decoded yet",
                                    t.type_name);
    bool scalar_rows = rule->columns == SIZE_NONE && rule->transform == IMPORT_UNPERMUTE;
    tensor->rows = scalar_rows ? t.dims[0] : t.dims[1];
    tensor->columns = scalar_rows ? 1 : t.dims[0];
    tensor->elements = tensor->rows * tensor->columns; /* below 2^63 by rule G8 */
    if (tensor->columns % tensor->format->elements)
        return phy_gguf_fail_tensor(model->gguf, index, PHY_ERR_UNSUPPORTED, "a bias of type %s cannot be reordered",
                                    t.type_name);
    model->tensor_count++;
    return PHY_OK;
}

/* Llama 3.1 and later: the parameters that all of them have. The factor differs between models, and the context it
 * scales. */
enum { LLAMA3_LOW = 1, LLAMA3_HIGH = 4, LLAMA3_CONTEXT = 8192 };

/* What `rope_freqs.weight` holds for a frequency by those parameters: 1 where waves are short, the factor where they
 * are long, and between the two a blend of the frequencies. */
static double llama3_divisor(double frequency, double factor, double context)
{
    const double waves = context * frequency / (2 * M_PI); /* that fit into the context */
    if (waves > LLAMA3_HIGH)
        return 1;
    if (waves < LLAMA3_LOW)
        return factor;
    const double smooth = (waves - LLAMA3_LOW) / (LLAMA3_HIGH - LLAMA3_LOW);
    return 1 / ((1 - smooth) / factor + smooth);
}

static double frequency_of(const struct import_model *model, size_t index)
{
    return pow(model->rope_theta, -2.0 * (double)index / (double)model->head_dim);
}

/* The context that makes the first blended divisor what it is: llama3_divisor solved for it. 0 if none is blended. */
static double context_of_blend(const struct import_model *model, const float *divisors, size_t count)
{
    const double factor = (double)divisors[count - 1];
    for (size_t i = 0; i < count; i++) {
        const double divisor = (double)divisors[i];
        if (!(divisor > 1 && divisor < factor))
            continue;
        const double smooth = (1 / divisor - 1 / factor) / (1 - 1 / factor);
        const double waves = LLAMA3_LOW + smooth * (LLAMA3_HIGH - LLAMA3_LOW);
        const double context = round(2 * M_PI * waves / frequency_of(model, i));
        return context < 1e9 ? context : 0; /* also for NaN */
    }
    return 0;
}

/* GGUF holds divisors where config.json holds the parameters that make them. A guess at the context is right if it
 * gives every divisor; nothing else is accepted. */
static bool find_llama3_parameters(struct import_model *model, const float *divisors, size_t count)
{
    const double factor = (double)divisors[count - 1];
    const double contexts[] = {(double)model->rope_original_context, LLAMA3_CONTEXT,
                               context_of_blend(model, divisors, count)};
    for (size_t c = 0; c < sizeof contexts / sizeof contexts[0]; c++) {
        bool all = factor > 1 && contexts[c] >= 1;
        for (size_t i = 0; i < count && all; i++) {
            const double expected = llama3_divisor(frequency_of(model, i), factor, contexts[c]);
            all = fabs((double)divisors[i] - expected) <= 1e-5 * expected;
        }
        if (!all)
            continue;
        model->rope = ROPE_LLAMA3;
        model->rope_factor = factor;
        model->rope_low = LLAMA3_LOW;
        model->rope_high = LLAMA3_HIGH;
        model->rope_original_context = (uint64_t)contexts[c];
        return true;
    }
    return false;
}

static enum phy_status read_rope_divisors(struct import_model *model, size_t index)
{
    struct phy_gguf_tensor t;
    phy_gguf_tensor(model->gguf, index, &t);
    if (t.type != 0 || t.dim_count != 1 || t.dims[0] != model->head_dim / 2 || t.dims[0] > 65536)
        return phy_gguf_fail_tensor(model->gguf, index, PHY_ERR_FORMAT, "not %" PRIu64 " F32 divisors",
                                    model->head_dim / 2);
    size_t count = (size_t)t.dims[0];
    uint8_t *bytes = phy_alloc(count, 4);
    float *divisors = phy_alloc(count, sizeof *divisors);
    enum phy_status status = bytes && divisors ? phy_gguf_read(model->gguf, bytes, count * 4, t.at)
                                               : phy_fail_memory(model->host, "rope_freqs", count * 8);
    if (!status) {
        bool all_one = true;
        phy_decode_f32(bytes, count, divisors);
        for (size_t i = 0; i < count; i++)
            all_one &= divisors[i] == 1.0f;
        bool usable = model->rope == ROPE_DEFAULT && model->architecture->family == IMPORT_LLAMA;
        if (!all_one && !(usable && find_llama3_parameters(model, divisors, count)))
            status =
                phy_gguf_fail_tensor(model->gguf, index, PHY_ERR_UNSUPPORTED,
                                     "its divisors are not those of Llama 3's rope scaling, the only one that we know");
    }
    phy_free(bytes);
    phy_free(divisors);
    return status;
}

enum phy_status phy_import_plan_tensors(struct import_model *model)
{
    size_t count = phy_gguf_tensor_count(model->gguf), divisors;
    enum phy_status status = PHY_OK;
    for (size_t i = 0; i < count && !status; i++)
        status = check_known(model, i);
    model->tensors = phy_alloc(count, sizeof *model->tensors);
    if (!status && !model->tensors)
        status = phy_fail_memory(model->host, "tensors", count * sizeof *model->tensors);
    /* Model tensors are planned around the layers, in the order in which a forward pass meets them. A name is planned
     * once, so there are never more than `count`; a layer that lacks a tensor ends the loop however many layers are
     * promised. */
    const struct import_rule *outer = model->architecture->model_rules;
    if (!status)
        status = plan_one(model, outer++, 0, false);
    for (uint64_t layer = 0; layer < model->layers && !status; layer++) {
        for (const struct import_rule *rule = model->architecture->layer_rules; rule->gguf && !status; rule++)
            status = plan_one(model, rule, layer, true);
    }
    for (; !status && outer->gguf; outer++)
        status = plan_one(model, outer, 0, false);
    if (!status && phy_gguf_find_tensor(model->gguf, "rope_freqs.weight", &divisors))
        status = read_rope_divisors(model, divisors);
    return status;
}

void phy_import_tensor_name(const struct import_tensor *tensor, char out[IMPORT_NAME_BYTES])
{
    if (tensor->in_layer)
        snprintf(out, IMPORT_NAME_BYTES, "model.layers.%" PRIu64 ".%s", tensor->layer, tensor->rule->hf);
    else
        snprintf(out, IMPORT_NAME_BYTES, "%s", tensor->rule->hf);
}
