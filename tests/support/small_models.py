# SPDX-License-Identifier: Apache-2.0
"""Models of a few thousand weights, one for each architecture that import knows, with what their directory must hold."""
import random

import gguf_writer as gguf

BASE = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 2, "max_position_embeddings": 256, "rms_norm_eps": 1e-5, "vocab_size": 40,
        "bos_token_id": 1, "eos_token_id": 2, "rope_parameters": {"rope_theta": 10000.0, "rope_type": "default"}}
LLAMA3 = {"factor": 8.0, "high_freq_factor": 4.0, "low_freq_factor": 1.0, "original_max_position_embeddings": 8192,
          "rope_theta": 500000.0, "rope_type": "llama3"}
YARN = {"factor": 4.0, "original_max_position_embeddings": 64, "rope_theta": 1e6, "rope_type": "yarn"}
LINEAR = {"full_attention": {"factor": 8.0, "rope_theta": 1e6, "rope_type": "linear"},
          "sliding_attention": {"rope_theta": 10000.0, "rope_type": "default"}}

# name: (config, untied head, biases on q k v o and the mlp, type of the matrices)
MODELS = {
    "llama": (dict(BASE, model_type="llama", head_dim=16), False, False, "F32"),
    "llama-biased": (dict(BASE, model_type="llama", head_dim=16), True, True, "BF16"),
    "llama3": (dict(BASE, model_type="llama", head_dim=32, rope_parameters=LLAMA3), True, False, "Q8_0"),
    "qwen2": (dict(BASE, model_type="qwen2", num_attention_heads=8, rope_parameters=YARN), True, False, "F16"),
    "qwen3": (dict(BASE, model_type="qwen3", head_dim=24), False, False, "BF16"),
    "gemma3": (dict(BASE, model_type="gemma3_text", head_dim=32, num_hidden_layers=7, sliding_window=16,
                    rope_parameters=LINEAR), False, False, "Q8_0"),
}


def shapes_of(config, untied, biased):
    family, h, inter = config["model_type"], config["hidden_size"], config["intermediate_size"]
    d = config.get("head_dim") or h // config["num_attention_heads"]
    q, k = d * config["num_attention_heads"], d * config["num_key_value_heads"]
    layer = {"self_attn.q_proj.weight": [q, h], "self_attn.k_proj.weight": [k, h], "self_attn.v_proj.weight": [k, h],
             "self_attn.o_proj.weight": [h, q], "mlp.gate_proj.weight": [inter, h], "mlp.up_proj.weight": [inter, h],
             "mlp.down_proj.weight": [h, inter], "input_layernorm.weight": [h], "post_attention_layernorm.weight": [h]}
    if family == "qwen2" or biased:
        layer |= {"self_attn.q_proj.bias": [q], "self_attn.k_proj.bias": [k], "self_attn.v_proj.bias": [k]}
    if biased:
        layer |= {"self_attn.o_proj.bias": [h], "mlp.gate_proj.bias": [inter], "mlp.up_proj.bias": [inter],
                  "mlp.down_proj.bias": [h]}
    if family in ("qwen3", "gemma3_text"):
        layer |= {"self_attn.q_norm.weight": [d], "self_attn.k_norm.weight": [d]}
    if family == "gemma3_text":
        layer |= {"pre_feedforward_layernorm.weight": [h], "post_feedforward_layernorm.weight": [h]}
    shapes = {"model.embed_tokens.weight": [config["vocab_size"], h], "model.norm.weight": [h]}
    if untied:
        shapes["lm_head.weight"] = [config["vocab_size"], h]
    for n in range(config["num_hidden_layers"]):
        shapes |= {f"model.layers.{n}.{name}": shape for name, shape in layer.items()}
    return shapes


def _eighths(rng, count):
    """Values that F16, Q8_0 with a scale of 1/8, and one added in float32 all hold exactly."""
    return [rng.randint(-127, 127) / 8 for _ in range(count)]


def _encoder(kind):
    def encode(name, values, columns):
        if kind == "F16" and name.endswith("_proj.weight"):
            return kind, gguf.struct.pack(f"<{len(values)}e", *values)
        if kind == "BF16" and name.endswith("_proj.weight"):
            return kind, gguf.bf16_bytes(values)
        if kind == "Q8_0" and name.endswith("_proj.weight") and columns % 32 == 0:
            blocks = [values[i:i + 32] for i in range(0, len(values), 32)]
            return kind, b"".join(gguf.struct.pack("<e32b", 0.125, *(int(v * 8) for v in b)) for b in blocks)
        return "F32", gguf.f32_bytes(values)
    return encode


# A byte-level vocabulary: letters, a few merges, two special tokens.
TOKENS = ["<unk>", "<bos>", "<eos>"] + [chr(c) for c in range(ord("a"), ord("z") + 1)] + [
    "\u0120", "th", "the", "\u0120the", "in", "er", "0", "1", "2", "3", "<think>"]
MERGES = ["t h", "th e", "\u0120 the", "i n", "e r"]


def put_byte_level(writer, pre="gpt-2"):
    writer.key("tokenizer.ggml.model", gguf.STR, "gpt2")
    writer.key("tokenizer.ggml.pre", gguf.STR, pre)
    writer.array("tokenizer.ggml.tokens", gguf.STR, TOKENS)
    writer.array("tokenizer.ggml.token_type", gguf.I32,
                 [gguf.CONTROL] * 3 + [gguf.NORMAL] * (len(TOKENS) - 4) + [gguf.USER_DEFINED])
    writer.array("tokenizer.ggml.merges", gguf.STR, MERGES)


def build(name, pre="gpt-2"):
    """(writer, config, {HF name: (shape, bf16 bytes)}) of one of MODELS."""
    config, untied, biased, kind = MODELS[name]
    assert len(TOKENS) == config["vocab_size"]
    rng = random.Random(name)
    tensors = {n: (s, _eighths(rng, s[0] * (s[1] if len(s) > 1 else 1)))
               for n, s in shapes_of(config, untied, biased).items()}
    writer = gguf.Writer()
    arch = gguf.put_config(writer, config)
    gguf.put_weights(writer, arch, config, tensors, _encoder(kind))
    put_byte_level(writer, pre)
    return writer, config, {n: (s, gguf.bf16_bytes(v)) for n, (s, v) in tensors.items()}
