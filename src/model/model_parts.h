/* SPDX-License-Identifier: Apache-2.0 */
/* A model as its parts see it: the weights of each layer, and the kernels that run them. */
#ifndef PHY_MODEL_MODEL_PARTS_H
#define PHY_MODEL_MODEL_PARTS_H

#include "base/pool.h"
#include "kernels/attention.h"
#include "kernels/matmul.h"
#include "model/config.h"
#include "model/mapping.h"
#include "physarium/checkpoint.h"
#include "physarium/model.h"

/* A stored weight matrix, inside a mapping. */
struct phy_matrix {
    const void *data; /* (rows, cols) row-major */
    enum phy_float_type type;
    size_t rows, cols;
};

struct phy_layer {
    struct phy_matrix q, k, v, o, gate, up, down;
    /* Vectors, widened; the model's own. NULL where the architecture has none. */
    float *q_bias, *k_bias, *v_bias, *o_bias, *gate_bias, *up_bias, *down_bias;
    float *q_norm, *k_norm; /* (head_dim) */
    float *input_norm,
        *post_attention_norm; /* (hidden); post: gemma's norm of attention's output, else the FFN's input norm */
    float *pre_ffn_norm, *post_ffn_norm; /* (hidden) gemma */
};

struct phy_model {
    struct phy_checkpoint *checkpoint;
    const struct phy_host *host;
    char *label; /* the directory as given, for messages */
    struct phy_model_config config;
    struct phy_mapping *mappings; /* one for each shard */
    size_t mapping_count;
    struct phy_matrix embedding, head;
    float *final_norm;
    struct phy_layer *layers;
    float embedding_scale;                                /* 1, or gemma's sqrt(hidden) in float32 */
    float norm_offset;                                    /* 0, or gemma's 1: weights are stored less one */
    float *inverse_frequency, *sliding_inverse_frequency; /* (head_dim / 2) */
    struct phy_pool *pool;
    const struct phy_matmul_variant *matmul;
    const struct phy_attention_variant *attention;
    const struct phy_activation_variant *activation;
    float *panels; /* (threads, PHY_MATMUL_PANEL_BYTES) */
    char device[32];
};

/* y (count, rows) = x (count, cols) w^T, shared among the model's threads. bias (rows) or NULL is added. */
void phy_model_multiply(struct phy_model *model, const struct phy_matrix *w, const float *x, size_t count, float *y,
                        const float *bias);

/* Widen `count` stored values. */
void phy_widen(float *to, const void *from, enum phy_float_type type, size_t count);

/* model_weights.c: map the shards, find every tensor by its Hugging Face name, check its shape and type. */
enum phy_status phy_model_load_weights(struct phy_model *model);
void phy_model_free_weights(struct phy_model *model);

/* rope.c: inverse frequencies of `rope` for head_dim / 2 pairs, by the rules of Hugging Face's rope_type. */
void phy_rope_frequencies(const struct phy_rope_config *rope, uint32_t head_dim, float *out);

#endif
