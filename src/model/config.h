/* SPDX-License-Identifier: Apache-2.0 */
/* config.json of a Hugging Face checkpoint, checked: what a forward pass needs and nothing guessed. */
#ifndef PHY_MODEL_CONFIG_H
#define PHY_MODEL_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/activation.h"
#include "physarium/checkpoint.h"
#include "physarium/host.h"

enum phy_architecture { PHY_ARCH_LLAMA, PHY_ARCH_MISTRAL, PHY_ARCH_QWEN2, PHY_ARCH_QWEN3, PHY_ARCH_GEMMA3 };
enum phy_rope_kind { PHY_ROPE_DEFAULT, PHY_ROPE_LINEAR, PHY_ROPE_LLAMA3 };

struct phy_rope_config {
    enum phy_rope_kind kind;
    double theta;
    double factor, low_freq_factor, high_freq_factor; /* linear: factor; llama3: all */
    uint32_t original_max_positions;                  /* llama3 */
};

enum { PHY_MAX_LAYERS = 1024, PHY_MAX_EOS = 8 };

struct phy_model_config {
    enum phy_architecture architecture;
    const char *model_type; /* as a fixed text: "llama", "gemma3_text" ... */
    uint32_t vocab_size, hidden_size, intermediate_size, layer_count;
    uint32_t head_count, kv_head_count, head_dim, max_positions;
    double norm_eps;
    enum phy_activation activation;
    bool tied_head, attention_bias, output_bias, mlp_bias;
    double query_scale;      /* scores are multiplied by it: head_dim^-1/2, gemma: query_pre_attn_scalar^-1/2 */
    uint32_t sliding_window; /* 0: none */
    bool sliding[PHY_MAX_LAYERS];
    struct phy_rope_config rope, sliding_rope; /* sliding_rope: of layers with a window */
    uint32_t eos[PHY_MAX_EOS];
    uint32_t eos_count;
    uint32_t bos; /* UINT32_MAX: none */
};

/* Parse the text of config.json. `file` names it in messages.
 *   PHY_ERR_FORMAT       not JSON, a field is missing, of the wrong type or out of range
 *   PHY_ERR_UNSUPPORTED  an architecture, activation, rope type or setting that we do not compute: named, never guessed
 *   PHY_ERR_LIMIT        more end-of-sequence tokens than PHY_MAX_EOS
 *   PHY_ERR_MEMORY */
enum phy_status phy_model_config_parse(struct phy_model_config *out, const char *text, size_t bytes, const char *file,
                                       const struct phy_host *host);

/* The config.json of an open checkpoint directory, of at most 4 MiB. `label` names the directory in messages. Statuses
 * as above, and
 *   PHY_ERR_FORMAT  there is none
 *   PHY_ERR_IO */
enum phy_status phy_model_config_read(struct phy_model_config *out, const struct phy_checkpoint *checkpoint,
                                      const char *label, const struct phy_host *host);

#endif
