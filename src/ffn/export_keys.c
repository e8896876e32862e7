/* SPDX-License-Identifier: Apache-2.0 */
/* config.json in the words of GGUF. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "ffn/export_run.h"

/* ---- writing ---- */

void phy_gguf_put_string(struct phy_bytes *to, const char *text, size_t bytes)
{
    phy_bytes_add_u64(to, bytes);
    phy_bytes_add(to, text, bytes);
}

void phy_gguf_put_f32(struct phy_bytes *to, float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    phy_bytes_add_u32(to, bits);
}

static void begin(struct phy_gguf_keys *keys, const char *name, uint32_t type)
{
    phy_gguf_put_string(&keys->bytes, name, strlen(name));
    phy_bytes_add_u32(&keys->bytes, type);
    keys->count++;
}

void phy_gguf_key_u32(struct phy_gguf_keys *keys, const char *name, uint32_t value)
{
    begin(keys, name, GGUF_U32);
    phy_bytes_add_u32(&keys->bytes, value);
}

void phy_gguf_key_f32(struct phy_gguf_keys *keys, const char *name, double value)
{
    begin(keys, name, GGUF_F32);
    phy_gguf_put_f32(&keys->bytes, (float)value);
}

void phy_gguf_key_bool(struct phy_gguf_keys *keys, const char *name, bool value)
{
    const unsigned char byte = value;
    begin(keys, name, GGUF_BOOL);
    phy_bytes_add(&keys->bytes, &byte, 1);
}

void phy_gguf_key_text(struct phy_gguf_keys *keys, const char *name, const char *text, size_t bytes)
{
    begin(keys, name, GGUF_STRING);
    phy_gguf_put_string(&keys->bytes, text, bytes);
}

void phy_gguf_key_array(struct phy_gguf_keys *keys, const char *name, uint32_t type, uint64_t count)
{
    begin(keys, name, GGUF_ARRAY);
    phy_bytes_add_u32(&keys->bytes, type);
    phy_bytes_add_u64(&keys->bytes, count);
}

/* ---- the model ---- */

/* general.file_type: which mixture of types the file is. For people; no reader decides by it. */
static uint32_t file_type_of(const struct phy_store_scheme *scheme)
{
    static const struct {
        const char *scheme;
        uint32_t file_type;
    } types[] = {{"f32", 0},  {"f16", 1},   {"bf16", 32}, {"q4_0", 2},
                 {"q8_0", 7}, {"q4_k", 15}, {"q6_k", 18}, {"mxfp4", 38}};
    for (size_t i = 0; scheme && i < sizeof types / sizeof *types; i++) {
        if (strcmp(types[i].scheme, scheme->name) == 0)
            return types[i].file_type;
    }
    return 32;
}

static const char *suffixed(char out[96], const struct phy_export *run, const char *suffix)
{
    snprintf(out, 96, "%s%s", run->architecture->name, suffix);
    return out;
}

static void add_u32(const struct phy_export *run, struct phy_gguf_keys *keys, const char *suffix, uint32_t value)
{
    char name[96];
    phy_gguf_key_u32(keys, suffixed(name, run, suffix), value);
}

static void add_f32(const struct phy_export *run, struct phy_gguf_keys *keys, const char *suffix, double value)
{
    char name[96];
    phy_gguf_key_f32(keys, suffixed(name, run, suffix), value);
}

static void add_rope(const struct phy_export *run, struct phy_gguf_keys *keys)
{
    const struct phy_model_config *c = &run->donor.config;
    char name[96];
    add_u32(run, keys, ".rope.dimension_count", c->head_dim);
    add_f32(run, keys, ".rope.freq_base", c->rope.theta);
    if (c->rope.kind == PHY_ROPE_LINEAR) {
        phy_gguf_key_text(keys, suffixed(name, run, ".rope.scaling.type"), "linear", strlen("linear"));
        add_f32(run, keys, ".rope.scaling.factor", c->rope.factor);
    }
    if (c->rope.kind == PHY_ROPE_LLAMA3)
        add_u32(run, keys, ".rope.scaling.original_context_length", c->rope.original_max_positions);
}

/* GGUF's gemma3 says how often a full layer comes; readers know the scale of queries by the number of layers. */
static enum phy_status add_gemma3(const struct phy_export *run, struct phy_gguf_keys *keys)
{
    const struct phy_model_config *c = &run->donor.config;
    uint32_t pattern = c->layer_count + 1;
    for (uint32_t i = 0; i < c->layer_count && pattern > c->layer_count; i++)
        pattern = c->sliding[i] ? pattern : i + 1;
    for (uint32_t i = 0; i < c->layer_count; i++) {
        if (c->sliding[i] != ((i + 1) % pattern != 0))
            return phy_fail(run->host, PHY_ERR_UNSUPPORTED,
                            "%s: layer %u breaks the pattern of sliding layers: GGUF has no word for it",
                            run->donor.label, i);
    }
    const double scalar = 1 / (c->query_scale * c->query_scale);
    const double known = c->layer_count == 62 ? (double)c->hidden_size / c->head_count : c->head_dim;
    if (fabs(scalar - known) > 1e-6 * known)
        return phy_fail(run->host, PHY_ERR_UNSUPPORTED,
                        "%s: query_pre_attn_scalar %g: readers of GGUF take %g for this model", run->donor.label,
                        scalar, known);
    add_u32(run, keys, ".attention.sliding_window", c->sliding_window);
    if (pattern != 6)
        add_u32(run, keys, ".attention.sliding_window_pattern", pattern);
    add_f32(run, keys, ".rope.freq_base_swa", c->sliding_rope.theta);
    if (c->sliding_rope.kind != PHY_ROPE_DEFAULT)
        return phy_fail(run->host, PHY_ERR_UNSUPPORTED, "%s: sliding layers with scaled rotation: GGUF has no word",
                        run->donor.label);
    return PHY_OK;
}

enum phy_status phy_export_keys(struct phy_export *run, struct phy_gguf_keys *keys)
{
    const struct phy_model_config *c = &run->donor.config;
    const bool gemma = c->architecture == PHY_ARCH_GEMMA3;
    if (!gemma && c->sliding_window)
        return phy_fail(run->host, PHY_ERR_UNSUPPORTED, "%s: a sliding window of %u: GGUF's %s has none",
                        run->donor.label, c->sliding_window, run->architecture->name);
    phy_gguf_key_text(keys, "general.architecture", run->architecture->name, strlen(run->architecture->name));
    phy_gguf_key_text(keys, "general.type", "model", strlen("model"));
    phy_gguf_key_u32(keys, "general.file_type", file_type_of(run->scheme));
    phy_gguf_key_u32(keys, "general.quantization_version", 2);
    add_u32(run, keys, ".vocab_size", c->vocab_size);
    add_u32(run, keys, ".context_length", c->max_positions);
    add_u32(run, keys, ".embedding_length", c->hidden_size);
    add_u32(run, keys, ".block_count", c->layer_count);
    add_u32(run, keys, ".feed_forward_length", c->intermediate_size);
    add_u32(run, keys, ".attention.head_count", c->head_count);
    add_u32(run, keys, ".attention.head_count_kv", c->kv_head_count);
    add_u32(run, keys, ".attention.key_length", c->head_dim);
    add_u32(run, keys, ".attention.value_length", c->head_dim);
    add_f32(run, keys, ".attention.layer_norm_rms_epsilon", c->norm_eps);
    add_rope(run, keys);
    return gemma ? add_gemma3(run, keys) : PHY_OK;
}

void phy_export_rope_divisors(const struct phy_model_config *config, float *out)
{
    const struct phy_rope_config *rope = &config->rope;
    const double longest = rope->original_max_positions / rope->low_freq_factor,
                 shortest = rope->original_max_positions / rope->high_freq_factor;
    for (uint32_t i = 0; i < config->head_dim / 2; i++) {
        const double wave = 2 * M_PI * pow(rope->theta, 2.0 * i / config->head_dim);
        const double smooth = (rope->original_max_positions / wave - rope->low_freq_factor) /
                              (rope->high_freq_factor - rope->low_freq_factor);
        out[i] = (float)(wave < shortest  ? 1
                         : wave > longest ? rope->factor
                                          : 1 / ((1 - smooth) / rope->factor + smooth));
    }
}
