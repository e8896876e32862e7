/* SPDX-License-Identifier: Apache-2.0 */
/* A model as its parts see it: the weights of each layer, and the kernels that run them. */
#ifndef PHY_MODEL_MODEL_PARTS_H
#define PHY_MODEL_MODEL_PARTS_H

#include "backend/matmul_backend.h"
#include "base/pool.h"
#include "device/held_log.h"
#include "kernels/attention.h"
#include "model/config.h"
#include "model/mapping.h"
#include "physarium/checkpoint.h"
#include "physarium/model.h"

struct phy_layer {
    struct phy_weights q, k, v, o, gate, up, down;
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
    struct phy_weights embedding, head; /* inside mappings, like those of the layers */
    float *final_norm;
    struct phy_layer *layers;
    float embedding_scale;                                /* 1, or gemma's sqrt(hidden) in float32 */
    float norm_offset;                                    /* 0, or gemma's 1: weights are stored less one */
    float *inverse_frequency, *sliding_inverse_frequency; /* (head_dim / 2) */
    struct phy_pool *pool;
    struct phy_matmul_backend *matmul; /* the device of the products */
    char device_name[32];              /* its name; stays in place when the CPU takes over */
    struct phy_held_log held;          /* its host */
    bool fallback_cpu, bf16_activations;
    struct phy_ffn *ffn; /* the path of new sessions; NULL: the dense one */
    bool ffn_elsewhere;  /* the device does not hold the FFN's matrices */
    const struct phy_attention_variant *attention;
    const struct phy_activation_variant *activation;
};

/* ---- model_device.c ---- */

/* The pool, the device and the forms of what stays on the CPU. */
enum phy_status phy_model_open_device(struct phy_model *model, const struct phy_model_params *params);
/* phy_model_hand_over, or the CPU's turn: of a lost device if params allowed it, of one without room if the FFN is
 * elsewhere. */
enum phy_status phy_model_load_device(struct phy_model *model);
/* How products with w treat their activations. */
enum phy_product_kernel phy_model_kernel(const struct phy_model *model, const struct phy_weights *w);
/* Products of the same x on the model's device. A device that is lost hands over to the CPU, if params allowed it. */
enum phy_status phy_model_products(struct phy_model *model, const struct phy_product *products, size_t product_count,
                                   const float *x, size_t count);
enum phy_status phy_model_multiply(struct phy_model *model, const struct phy_weights *w, const float *x, size_t count,
                                   float *y, const float *bias);
/* A whole layer, and its status; false: the device does it in products. */
bool phy_model_ffn_product(struct phy_model *model, const struct phy_ffn_product *product, enum phy_status *status);

/* Widen `count` stored values. */
void phy_widen(float *to, const void *from, enum phy_weight_type type, size_t count);

/* model_weights.c: map the shards, find every tensor by its Hugging Face name, check its shape and type. */
enum phy_status phy_model_load_weights(struct phy_model *model);
/* Every matrix that is multiplied, to the device. */
enum phy_status phy_model_hand_over(struct phy_model *model);
void phy_model_free_weights(struct phy_model *model);

/* rope.c: inverse frequencies of `rope` for head_dim / 2 pairs, by the rules of Hugging Face's rope_type. */
void phy_rope_frequencies(const struct phy_rope_config *rope, uint32_t head_dim, float *out);

#endif
