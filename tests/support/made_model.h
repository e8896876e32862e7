/* SPDX-License-Identifier: Apache-2.0 */
/* Checkpoints changed or made whole: headers rewritten, weights in another type, and a model that says what it is told.
 */
#ifndef PHY_TESTS_SUPPORT_MADE_MODEL_H
#define PHY_TESTS_SUPPORT_MADE_MODEL_H

#include "support/tiny_model.h"

#include <cjson/cJSON.h>

#include "quant/small_float.h"

/* The safetensors file with the first `old` of its header replaced; the data stay as they are. */
static inline void rewrite_header(const char *path, const char *old, const char *new)
{
    size_t bytes;
    char *file = read_whole(path, &bytes);
    uint64_t length = phy_load_u64(file);
    char *header = strndup(file + 8, length), *changed = replaced(header, old, new);
    size_t new_length = strlen(changed), data_bytes = bytes - 8 - length;
    unsigned char *out = malloc(8 + new_length + data_bytes);
    phy_store_u64(out, new_length);
    memcpy(out + 8, changed, new_length);
    memcpy(out + 8 + new_length, file + 8 + length, data_bytes);
    write_file(path, out, 8 + new_length + data_bytes);
    free(file);
    free(header);
    free(changed);
    free(out);
}

/* binary32 to binary16, towards zero; what is too small becomes zero. */
static inline uint16_t half_of(float value)
{
    uint32_t bits = phy_bits_of_float(value), exponent = bits >> 23 & 255;
    uint32_t sign = bits >> 16 & 0x8000;
    return (uint16_t)(exponent < 113 ? sign : sign | (exponent - 112) << 10 | (bits >> 13 & 0x3FF));
}

/* Rewrite a file of BF16 tensors, each value made one of binary16, as `dtype`: F16 or F32. */
static inline void convert_weights(const char *path, const char *dtype)
{
    const bool wide = strcmp(dtype, "F32") == 0;
    size_t bytes;
    char *file = read_whole(path, &bytes);
    uint64_t length = phy_load_u64(file);
    cJSON *header = cJSON_ParseWithLength(file + 8, length), *entry;
    cJSON_ArrayForEach(entry, header)
    {
        if (strcmp(entry->string, "__metadata__") == 0)
            continue;
        cJSON *offsets = cJSON_GetObjectItem(entry, "data_offsets");
        assert_string_equal(cJSON_GetStringValue(cJSON_GetObjectItem(entry, "dtype")), "BF16");
        cJSON_SetValuestring(cJSON_GetObjectItem(entry, "dtype"), dtype);
        for (int i = 0; i < 2; i++) {
            cJSON *offset = cJSON_GetArrayItem(offsets, i);
            cJSON_SetNumberValue(offset, offset->valuedouble * (wide ? 2 : 1));
        }
    }
    /* cJSON keeps the string's room: "BF16" is longer than "F32". */
    char *text = cJSON_PrintUnformatted(header);
    size_t new_length = strlen(text), count = (bytes - 8 - length) / 2, width = wide ? 4 : 2;
    unsigned char *out = malloc(8 + new_length + count * width);
    phy_store_u64(out, new_length);
    memcpy(out + 8, text, new_length);
    for (size_t i = 0; i < count; i++) {
        uint16_t half = half_of(phy_bf16_widen(phy_load_u16(file + 8 + length + 2 * i)));
        float value = phy_f16_widen(half);
        memcpy(out + 8 + new_length + i * width, wide ? (const void *)&value : (const void *)&half, width);
    }
    write_file(path, out, 8 + new_length + count * width);
    cJSON_Delete(header);
    free(text);
    free(file);
    free(out);
}

/* ---- a model that says what it is told ---- */

struct made_tensor {
    char name[80];
    size_t rows, cols; /* cols 0: a vector */
};

/* A llama of one layer in the folder `to`, whose layer adds nothing: embeddings are the unit vectors of `vocab`
 * dimensions, so the logits after token t are a multiple of column t of `head` (vocab, vocab), whatever came before.
 * The multiple is sqrt(vocab), by the final norm. eos: UINT32_MAX for none. */
static inline void make_chain(const char *to, size_t vocab, const float *head, uint32_t eos)
{
    struct made_tensor tensors[] = {
        {"model.embed_tokens.weight", vocab, vocab},
        {"lm_head.weight", vocab, vocab},
        {"model.norm.weight", vocab, 0},
        {"model.layers.0.input_layernorm.weight", vocab, 0},
        {"model.layers.0.post_attention_layernorm.weight", vocab, 0},
        {"model.layers.0.self_attn.q_proj.weight", 2, vocab},
        {"model.layers.0.self_attn.k_proj.weight", 2, vocab},
        {"model.layers.0.self_attn.v_proj.weight", 2, vocab},
        {"model.layers.0.self_attn.o_proj.weight", vocab, 2},
        {"model.layers.0.mlp.gate_proj.weight", 1, vocab},
        {"model.layers.0.mlp.up_proj.weight", 1, vocab},
        {"model.layers.0.mlp.down_proj.weight", vocab, 1},
    };
    enum { COUNT = sizeof tensors / sizeof *tensors };
    char header[4096] = "{", path[PATH_MAX];
    size_t used = 1, at = 0;
    for (size_t i = 0; i < COUNT; i++) {
        size_t count = tensors[i].rows * (tensors[i].cols ? tensors[i].cols : 1), end = at + 4 * count;
        char shape[64];
        snprintf(shape, sizeof shape, tensors[i].cols ? "%zu,%zu" : "%zu", tensors[i].rows, tensors[i].cols);
        used += (size_t)sprintf(header + used, "%s\"%s\":{\"dtype\":\"F32\",\"shape\":[%s],\"data_offsets\":[%zu,%zu]}",
                                i ? "," : "", tensors[i].name, shape, at, end);
        at = end;
    }
    used += (size_t)sprintf(header + used, "}");
    unsigned char *file = calloc(8 + used + at, 1);
    phy_store_u64(file, used);
    memcpy(file + 8, header, used);
    const float one = 1;
    unsigned char *data = file + 8 + used;
    for (size_t i = 0; i < vocab; i++)
        memcpy(data + 4 * (i * vocab + i), &one, 4);
    memcpy(data + 4 * vocab * vocab, head, 4 * vocab * vocab);
    for (size_t i = 0; i < 3 * vocab; i++)
        memcpy(data + 8 * vocab * vocab + 4 * i, &one, 4);
    assert_int_equal(mkdir(to, 0777), 0);
    snprintf(path, sizeof path, "%s/model.safetensors", to);
    write_file(path, file, 8 + used + at);
    free(file);
    char config[1000], eos_text[16] = "null";
    if (eos != UINT32_MAX)
        snprintf(eos_text, sizeof eos_text, "%u", eos);
    snprintf(config, sizeof config,
             "{\"model_type\":\"llama\",\"vocab_size\":%zu,\"hidden_size\":%zu,\"intermediate_size\":1,"
             "\"num_hidden_layers\":1,\"num_attention_heads\":1,\"head_dim\":2,\"max_position_embeddings\":64,"
             "\"rms_norm_eps\":0,\"eos_token_id\":%s}",
             vocab, vocab, eos_text);
    snprintf(path, sizeof path, "%s/config.json", to);
    write_text(path, config);
}

#endif
