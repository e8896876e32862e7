/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PHYSARIUM_MODEL_H
#define PHYSARIUM_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "host.h"
#include "status.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A language model read from a Hugging Face directory: weights mapped in their stored type, widened in the kernels. */
struct phy_model;
/* One sequence of tokens with its cached keys and values. */
struct phy_session;

struct phy_model_params {
    /* What multiplies the weights: "cpu", "cpu:ref", "cpu:avx2", "cpu:avx512", "vulkan", "vulkan:N", "vulkan:NAME"
     * (part of the device's name); NULL: "cpu". "vulkan:N/FORM" forces the form of its products: "rows", "lanes",
     * "subgroup", "plain", "dot", or one of the first three and one of the last two with + between. A Vulkan device
     * holds a copy of the weights; the rest runs on the CPU. */
    const char *device;
    uint32_t threads; /* 0: all processors */
    bool tune;        /* a Vulkan device chooses its tiles by a short measured sweep; changes no bit */
    /* A path (physarium/ffn.h) will compute the FFN: its matrices are not copied to the device, and a session without
     * such a path is an error. A device without room for the others leaves those products to the CPU, with a warning.
     */
    bool ffn_elsewhere;
    /* Round the rows that bf16 matrices multiply to bf16, as some runners do: twice as fast for many rows on a
     * processor with AVX512-BF16, and a rounding of 2^-9 of each value. Matrices of other types multiply float32 as
     * ever. */
    bool bf16_activations;
    bool fallback_cpu; /* a device that is lost, or multiplies wrongly, hands over to the CPU, with a warning */
    /* Small files, such as config.json, may be links to places outside the directory, as in phy_memory_import_path. */
    bool follow_symlinks;
    const struct phy_host *host; /* may be NULL; must outlive the model */
};

struct phy_model_info {
    const char *model_type; /* "llama", "mistral", "qwen2", "qwen3", "gemma3_text" */
    const char *device;     /* in use: "cpu:avx512", "vulkan:0/lanes"; the text changes when the CPU takes over */
    uint32_t vocab_size, hidden_size, intermediate_size, layer_count, head_count, kv_head_count, head_dim;
    uint32_t max_positions;
    uint32_t bos;        /* UINT32_MAX: none */
    const uint32_t *eos; /* (eos_count) */
    uint32_t eos_count;
    uint64_t weight_bytes;   /* of the matrices that one decoded token reads, the head among them */
    uint64_t weight_count;   /* their weights */
    const char *activations; /* that its matrices multiply: "f32", or "bf16" by params->bf16_activations */
    const char *weight_type; /* that most of the bytes are stored in: "bf16", "f16", "f32" */
};

/* Open the model in `directory`.
 *   errors of phy_checkpoint_open, and
 *   PHY_ERR_FORMAT       config.json breaks a rule, a tensor is missing or of another shape
 *   PHY_ERR_UNSUPPORTED  an architecture or a setting that we do not compute; bf16_activations of a model without bf16
 *                        matrices, or on a device that has no such products
 *   PHY_ERR_DEVICE       no such device, or one that multiplies wrongly
 *   PHY_ERR_MEMORY       host or device memory does not hold it
 *   PHY_ERR_USAGE        params->device is none of these
 * On success *out is the caller's: phy_model_close(&model), after its sessions. *out is NULL on failure.
 * Thread-safety: one session of a model at work at a time. */
PHY_API enum phy_status phy_model_open(struct phy_model **out, const char *directory,
                                       const struct phy_model_params *params);
PHY_API void phy_model_close(struct phy_model **model);
PHY_API void phy_model_describe(const struct phy_model *model, struct phy_model_info *out);

/* A session for at most max_positions tokens (0: what the model allows, at most 4096).
 *   PHY_ERR_LIMIT   more than the model's positions
 *   PHY_ERR_MEMORY */
PHY_API enum phy_status phy_session_create(struct phy_session **out, struct phy_model *model, uint32_t max_positions);
PHY_API void phy_session_destroy(struct phy_session **session);
PHY_API struct phy_model *phy_session_model(const struct phy_session *session);
PHY_API uint32_t phy_session_length(const struct phy_session *session);
PHY_API uint32_t phy_session_capacity(const struct phy_session *session);
/* Forget all but the first `length` tokens; length <= phy_session_length. */
PHY_API void phy_session_truncate(struct phy_session *session, uint32_t length);

/* Receives the logits (vocab_size), float32, that follow the token at `position` of the session; valid during the call.
 * False stops the forward pass with PHY_ERR_INTERRUPTED. */
typedef bool phy_logits_sink(void *user, uint32_t position, const float *logits);

/* Append `count` tokens. The sink sees every position from first_scored on (counted in the session; UINT32_MAX: only
 * the last), in order.
 *   PHY_ERR_USAGE        a token that is not in the vocabulary
 *   PHY_ERR_LIMIT        more tokens than the session holds; nothing was appended
 *   PHY_ERR_IO           the model's files became shorter while they were mapped
 *   PHY_ERR_DEVICE       the device was lost
 *   PHY_ERR_MEMORY       host or device memory ran out
 *   PHY_ERR_INTERRUPTED  the sink or the host asked to stop */
PHY_API enum phy_status phy_session_forward(struct phy_session *session, const uint32_t *tokens, size_t count,
                                            uint32_t first_scored, phy_logits_sink *sink, void *user);

/* Append the tokens and write the logits that follow each to the file `output`: little-endian float32, (count,
 * vocab_size). It is whole or not there. PHY_ERR_IO when it cannot be written, and the errors of phy_session_forward.
 */
PHY_API enum phy_status phy_logits_write(struct phy_session *session, const uint32_t *tokens, size_t count,
                                         const char *output, const struct phy_host *host);

#ifdef __cplusplus
}
#endif
#endif
