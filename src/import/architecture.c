/* SPDX-License-Identifier: Apache-2.0 */
/* Names, shapes and transforms of every tensor that each architecture has. */
#include <string.h>

#include "import/import_model.h"

#define VECTOR(gguf, hf, size, transform, group)                                                                       \
    {                                                                                                                  \
        gguf, hf, size, SIZE_NONE, transform, group                                                                    \
    }
#define MATRIX(gguf, hf, rows, columns, transform)                                                                     \
    {                                                                                                                  \
        gguf, hf, rows, columns, transform, GROUP_REQUIRED                                                             \
    }

static const struct import_rule model_rules[] = {
    MATRIX("token_embd.weight", "model.embed_tokens.weight", SIZE_VOCAB, SIZE_HIDDEN, IMPORT_PLAIN),
    VECTOR("output_norm.weight", "model.norm.weight", SIZE_HIDDEN, IMPORT_PLAIN, GROUP_REQUIRED),
    {"output.weight", "lm_head.weight", SIZE_VOCAB, SIZE_HIDDEN, IMPORT_PLAIN, GROUP_HEAD},
    {0},
};

static const struct import_rule gemma_model_rules[] = {
    MATRIX("token_embd.weight", "model.embed_tokens.weight", SIZE_VOCAB, SIZE_HIDDEN, IMPORT_PLAIN),
    VECTOR("output_norm.weight", "model.norm.weight", SIZE_HIDDEN, IMPORT_SUBTRACT_ONE, GROUP_REQUIRED),
    {"output.weight", "lm_head.weight", SIZE_VOCAB, SIZE_HIDDEN, IMPORT_PLAIN, GROUP_HEAD},
    {0},
};

/* What the four have in common. The llama family's converter interleaves the rows of q and k; no other does. */
#define LAYER_MATRICES(of_q_and_k)                                                                                     \
    MATRIX("attn_q.weight", "self_attn.q_proj.weight", SIZE_QUERY, SIZE_HIDDEN, of_q_and_k),                           \
        MATRIX("attn_k.weight", "self_attn.k_proj.weight", SIZE_KEY, SIZE_HIDDEN, of_q_and_k),                         \
        MATRIX("attn_v.weight", "self_attn.v_proj.weight", SIZE_KEY, SIZE_HIDDEN, IMPORT_PLAIN),                       \
        MATRIX("attn_output.weight", "self_attn.o_proj.weight", SIZE_HIDDEN, SIZE_QUERY, IMPORT_PLAIN),                \
        MATRIX("ffn_gate.weight", "mlp.gate_proj.weight", SIZE_INTERMEDIATE, SIZE_HIDDEN, IMPORT_PLAIN),               \
        MATRIX("ffn_up.weight", "mlp.up_proj.weight", SIZE_INTERMEDIATE, SIZE_HIDDEN, IMPORT_PLAIN),                   \
        MATRIX("ffn_down.weight", "mlp.down_proj.weight", SIZE_HIDDEN, SIZE_INTERMEDIATE, IMPORT_PLAIN)
#define PLAIN_NORMS                                                                                                    \
    VECTOR("attn_norm.weight", "input_layernorm.weight", SIZE_HIDDEN, IMPORT_PLAIN, GROUP_REQUIRED),                   \
        VECTOR("ffn_norm.weight", "post_attention_layernorm.weight", SIZE_HIDDEN, IMPORT_PLAIN, GROUP_REQUIRED)

static const struct import_rule llama_rules[] = {
    PLAIN_NORMS,
    LAYER_MATRICES(IMPORT_UNPERMUTE),
    VECTOR("attn_q.bias", "self_attn.q_proj.bias", SIZE_QUERY, IMPORT_UNPERMUTE, GROUP_ATTENTION_BIAS),
    VECTOR("attn_k.bias", "self_attn.k_proj.bias", SIZE_KEY, IMPORT_UNPERMUTE, GROUP_ATTENTION_BIAS),
    VECTOR("attn_v.bias", "self_attn.v_proj.bias", SIZE_KEY, IMPORT_PLAIN, GROUP_ATTENTION_BIAS),
    VECTOR("attn_output.bias", "self_attn.o_proj.bias", SIZE_HIDDEN, IMPORT_PLAIN, GROUP_ATTENTION_BIAS),
    VECTOR("ffn_gate.bias", "mlp.gate_proj.bias", SIZE_INTERMEDIATE, IMPORT_PLAIN, GROUP_MLP_BIAS),
    VECTOR("ffn_up.bias", "mlp.up_proj.bias", SIZE_INTERMEDIATE, IMPORT_PLAIN, GROUP_MLP_BIAS),
    VECTOR("ffn_down.bias", "mlp.down_proj.bias", SIZE_HIDDEN, IMPORT_PLAIN, GROUP_MLP_BIAS),
    {0},
};

static const struct import_rule qwen2_rules[] = {
    PLAIN_NORMS,
    LAYER_MATRICES(IMPORT_PLAIN),
    VECTOR("attn_q.bias", "self_attn.q_proj.bias", SIZE_QUERY, IMPORT_PLAIN, GROUP_REQUIRED),
    VECTOR("attn_k.bias", "self_attn.k_proj.bias", SIZE_KEY, IMPORT_PLAIN, GROUP_REQUIRED),
    VECTOR("attn_v.bias", "self_attn.v_proj.bias", SIZE_KEY, IMPORT_PLAIN, GROUP_REQUIRED),
    {0},
};

static const struct import_rule qwen3_rules[] = {
    PLAIN_NORMS,
    LAYER_MATRICES(IMPORT_PLAIN),
    VECTOR("attn_q_norm.weight", "self_attn.q_norm.weight", SIZE_HEAD, IMPORT_PLAIN, GROUP_REQUIRED),
    VECTOR("attn_k_norm.weight", "self_attn.k_norm.weight", SIZE_HEAD, IMPORT_PLAIN, GROUP_REQUIRED),
    {0},
};

static const struct import_rule gemma3_rules[] = {
    VECTOR("attn_norm.weight", "input_layernorm.weight", SIZE_HIDDEN, IMPORT_SUBTRACT_ONE, GROUP_REQUIRED),
    LAYER_MATRICES(IMPORT_PLAIN),
    VECTOR("attn_q_norm.weight", "self_attn.q_norm.weight", SIZE_HEAD, IMPORT_SUBTRACT_ONE, GROUP_REQUIRED),
    VECTOR("attn_k_norm.weight", "self_attn.k_norm.weight", SIZE_HEAD, IMPORT_SUBTRACT_ONE, GROUP_REQUIRED),
    VECTOR("post_attention_norm.weight", "post_attention_layernorm.weight", SIZE_HIDDEN, IMPORT_SUBTRACT_ONE,
           GROUP_REQUIRED),
    VECTOR("ffn_norm.weight", "pre_feedforward_layernorm.weight", SIZE_HIDDEN, IMPORT_SUBTRACT_ONE, GROUP_REQUIRED),
    VECTOR("post_ffw_norm.weight", "post_feedforward_layernorm.weight", SIZE_HIDDEN, IMPORT_SUBTRACT_ONE,
           GROUP_REQUIRED),
    {0},
};

const struct import_architecture phy_import_architectures[] = {
    {"llama", IMPORT_LLAMA, "llama", "LlamaForCausalLM", llama_rules, model_rules},
    {"qwen2", IMPORT_QWEN2, "qwen2", "Qwen2ForCausalLM", qwen2_rules, model_rules},
    {"qwen3", IMPORT_QWEN3, "qwen3", "Qwen3ForCausalLM", qwen3_rules, model_rules},
    {"gemma3", IMPORT_GEMMA3, "gemma3_text", "Gemma3ForCausalLM", gemma3_rules, gemma_model_rules},
    {0},
};

const struct import_architecture *phy_import_architecture(const char *name)
{
    for (const struct import_architecture *a = phy_import_architectures; a->name; a++) {
        if (strcmp(a->name, name) == 0)
            return a;
    }
    return NULL;
}
