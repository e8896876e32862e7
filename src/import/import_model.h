/* SPDX-License-Identifier: Apache-2.0 */
/* A GGUF model as it was understood: what the config, the tokenizer and the weights are written from. */
#ifndef PHY_IMPORT_MODEL_H
#define PHY_IMPORT_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "format/gguf.h"
#include "physarium/host.h"
#include "quant/quant_format.h"

enum import_family { IMPORT_LLAMA, IMPORT_QWEN2, IMPORT_QWEN3, IMPORT_GEMMA3 };

enum import_transform {
    IMPORT_PLAIN,
    IMPORT_UNPERMUTE,    /* rows of each head are interleaved for adjacent-pair RoPE; HF keeps the halves apart */
    IMPORT_SUBTRACT_ONE, /* the file holds 1 + w */
};

/* Sizes that a tensor's dimensions must have. */
enum import_size {
    SIZE_NONE,
    SIZE_HIDDEN,
    SIZE_INTERMEDIATE,
    SIZE_QUERY, /* heads * head_dim */
    SIZE_KEY,   /* kv_heads * head_dim */
    SIZE_HEAD,
    SIZE_VOCAB,
    SIZE_COUNT
};

/* All or none of a group's tensors are there, in every layer; REQUIRED ones always. */
enum import_group { GROUP_REQUIRED, GROUP_ATTENTION_BIAS, GROUP_MLP_BIAS, GROUP_HEAD, GROUP_COUNT };

struct import_rule {
    const char *gguf;               /* name, after "blk.N." for a layer's tensor */
    const char *hf;                 /* name, after "model.layers.N." for a layer's tensor */
    enum import_size rows, columns; /* columns SIZE_NONE: one dimension */
    enum import_transform transform;
    enum import_group group;
};

struct import_architecture {
    const char *name; /* general.architecture */
    enum import_family family;
    const char *model_type, *class_name;
    const struct import_rule *layer_rules, *model_rules; /* ended by a NULL name */
};

extern const struct import_architecture phy_import_architectures[]; /* ended by a NULL name */
/* NULL if there is none of that name. */
const struct import_architecture *phy_import_architecture(const char *name);

enum import_rope { ROPE_DEFAULT, ROPE_LINEAR, ROPE_YARN, ROPE_LLAMA3 };

/* One tensor to write, in the order of writing. */
struct import_tensor {
    size_t gguf_index;
    const struct import_rule *rule;
    const struct phy_quant_format *format;
    uint64_t layer; /* of a layer's tensor */
    bool in_layer;
    uint64_t rows, columns; /* one dimension: columns is 1 for unpermuted vectors, else rows is 1 */
    uint64_t elements;
    uint32_t shard;
    uint64_t at; /* in its shard's data section */
};

struct import_model {
    const struct phy_host *host;
    const struct phy_gguf *gguf;
    const struct import_architecture *architecture;

    uint64_t layers, heads, kv_heads, head_dim, context;
    uint64_t sizes[SIZE_COUNT];
    double epsilon, rope_theta;
    bool writes_head_dim; /* head_dim is not hidden / heads */

    enum import_rope rope;
    double rope_factor, rope_low, rope_high, rope_beta_fast, rope_beta_slow, rope_attention_factor;
    uint64_t rope_original_context; /* 0: not given */
    bool has_beta_fast, has_beta_slow, has_attention_factor;

    /* gemma3 */
    uint64_t sliding_window, sliding_pattern;                                /* pattern 0: listed in sliding_layers */
    uint8_t *sliding_layers;                                                 /* (layers) 1 for a sliding one; or NULL */
    double local_rope_theta, query_scalar, attention_softcap, final_softcap; /* caps: 0 for none */

    bool groups[GROUP_COUNT]; /* which optional tensors there are */
    struct import_tensor *tensors;
    size_t tensor_count;
};

/* Read the keys that say what the model is. Messages name the key.
 *   PHY_ERR_FORMAT, PHY_ERR_UNSUPPORTED, PHY_ERR_IO, PHY_ERR_MEMORY */
enum phy_status phy_import_read_keys(struct import_model *model);
/* Give every tensor of the file its place in the output, by name, type and shape; each is used or refused. */
enum phy_status phy_import_plan_tensors(struct import_model *model);
/* HF name of a planned tensor. */
enum { IMPORT_NAME_BYTES = 128 };
void phy_import_tensor_name(const struct import_tensor *tensor, char out[IMPORT_NAME_BYTES]);

/* ---- keys ---- */

/* The key `suffix`, or `<architecture>.<suffix>` when suffix begins with a point. False when there is none. */
bool phy_import_find(const struct import_model *model, const char *suffix, size_t *index);
/* A value of that kind into *out, which stays as it is when the key is absent; a wrong kind is PHY_ERR_FORMAT. */
enum phy_status phy_import_u64(const struct import_model *model, const char *suffix, uint64_t *out);
enum phy_status phy_import_double(const struct import_model *model, const char *suffix, double *out);
enum phy_status phy_import_bool(const struct import_model *model, const char *suffix, bool *out);
/* The text of a string key, at most max_bytes; *out is freed with phy_free and NULL when the key is absent. */
enum phy_status phy_import_text(const struct import_model *model, const char *suffix, uint64_t max_bytes, char **out,
                                size_t *bytes);
/* `<file>: header: key "<name>" is missing`. */
enum phy_status phy_import_missing(const struct import_model *model, const char *suffix);

#endif
