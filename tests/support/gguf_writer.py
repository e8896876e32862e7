# SPDX-License-Identifier: Apache-2.0
"""Small GGUF files for tests, standard library only: a writer, and a converter from what a Hugging Face directory says.

The converter does what the published converters do: names, rows of q and k interleaved for llama, one added to gemma's norms,
the tokenizer as arrays. So importing its file must give back what it was made from.
"""
import struct

U8, I8, U16, I16, U32, I32, F32, BOOL, STR, ARR, U64, I64, F64 = range(13)
SCALAR = {U8: "B", I8: "b", U16: "H", I16: "h", U32: "I", I32: "i", F32: "f", BOOL: "B", U64: "Q", I64: "q", F64: "d"}
TYPES = {"F32": (0, 1, 4), "F16": (1, 1, 2), "Q8_0": (8, 32, 34), "Q8_1": (9, 32, 36), "BF16": (30, 1, 2)}

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)


def string(text):
    raw = text if isinstance(text, bytes) else text.encode()
    return struct.pack("<Q", len(raw)) + raw


class Writer:
    def __init__(self):
        self.keys, self.tensors = {}, {}

    def key(self, name, kind, value):
        body = string(value) if kind == STR else struct.pack("<" + SCALAR[kind], value)
        self.keys[name] = struct.pack("<I", kind) + body

    def array(self, name, kind, values):
        body = b"".join(string(v) if kind == STR else struct.pack("<" + SCALAR[kind], v) for v in values)
        self.keys[name] = struct.pack("<IIQ", ARR, kind, len(values)) + body

    def tensor(self, name, dims, kind, data):
        """dims fastest first; data are the tensor's bytes."""
        self.tensors[name] = (list(dims), kind, data)

    def bytes(self):
        head = b"GGUF" + struct.pack("<IQQ", 3, len(self.tensors), len(self.keys))
        head += b"".join(string(name) + body for name, body in self.keys.items())
        at, body = 0, b""
        for name, (dims, kind, data) in self.tensors.items():
            head += string(name) + struct.pack("<I", len(dims)) + b"".join(struct.pack("<Q", d) for d in dims)
            head += struct.pack("<IQ", TYPES[kind][0], at)
            body += data + bytes(-len(data) % 32)
            at = len(body)
        return head + bytes(-len(head) % 32) + body


def f32_bytes(values):
    return struct.pack(f"<{len(values)}f", *values)


def bf16_round(value):
    """The two bytes of the nearest bf16, ties to even, of a float32 value."""
    (bits,) = struct.unpack("<I", struct.pack("<f", value))
    return struct.pack("<H", (bits + 0x7FFF + (bits >> 16 & 1)) >> 16)


def bf16_bytes(values):
    return b"".join(bf16_round(v) for v in values)


def interleave(rows, heads):
    """HF row (head, half, pair) to GGUF row (head, pair, half); rows is a list of anything."""
    width = len(rows) // heads
    return [rows[h * width + half * (width // 2) + pair]
            for h in range(heads) for pair in range(width // 2) for half in range(2)]


NAMES = {"self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
         "self_attn.o_proj": "attn_output", "self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm",
         "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
         "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm"}
GEMMA_NAMES = dict(NAMES, **{"post_attention_layernorm": "post_attention_norm", "pre_feedforward_layernorm": "ffn_norm",
                             "post_feedforward_layernorm": "post_ffw_norm"})
OUTER = {"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight",
         "lm_head.weight": "output.weight"}


def gguf_name(arch, name):
    if name in OUTER:
        return OUTER[name]
    _, _, layer, rest = name.split(".", 3)
    module, kind = rest.rsplit(".", 1)
    return f"blk.{layer}.{(GEMMA_NAMES if arch == 'gemma3' else NAMES)[module]}.{kind}"


def put_config(w, config):
    """The keys of a config.json as transformers 5 writes it."""
    arch = {"gemma3_text": "gemma3", "mistral": "llama"}.get(config["model_type"], config["model_type"])
    w.key("general.architecture", STR, arch)
    rope = config["rope_parameters"]
    rope = rope.get("full_attention", rope)
    for name, field in [("block_count", "num_hidden_layers"), ("context_length", "max_position_embeddings"),
                        ("embedding_length", "hidden_size"), ("feed_forward_length", "intermediate_size"),
                        ("attention.head_count", "num_attention_heads"),
                        ("attention.head_count_kv", "num_key_value_heads")]:
        w.key(f"{arch}.{name}", U32, config[field])
    w.key(f"{arch}.attention.layer_norm_rms_epsilon", F32, config["rms_norm_eps"])
    w.key(f"{arch}.rope.freq_base", F32, rope["rope_theta"])
    if config.get("head_dim") and arch != "qwen2":
        w.key(f"{arch}.attention.key_length", U32, config["head_dim"])
        w.key(f"{arch}.attention.value_length", U32, config["head_dim"])
    if arch == "gemma3":
        w.key(f"{arch}.attention.sliding_window", U32, config["sliding_window"])
    if rope["rope_type"] in ("linear", "yarn"):
        w.key(f"{arch}.rope.scaling.type", STR, rope["rope_type"])
        w.key(f"{arch}.rope.scaling.factor", F32, rope["factor"])
    if rope["rope_type"] == "yarn":
        w.key(f"{arch}.rope.scaling.original_context_length", U32, rope["original_max_position_embeddings"])
    if rope["rope_type"] == "llama3":
        put_llama3_divisors(w, rope, config["head_dim"])
    for name, field in [("bos", "bos_token_id"), ("eos", "eos_token_id"), ("padding", "pad_token_id"),
                        ("unknown", "unk_token_id")]:
        if config.get(field) is not None:
            w.key(f"tokenizer.ggml.{name}_token_id", U32, config[field])
    return arch


def put_llama3_divisors(w, rope, head_dim):
    """rope_freqs.weight, as the published converters compute it."""
    out = []
    low, high, context = rope["low_freq_factor"], rope["high_freq_factor"], rope["original_max_position_embeddings"]
    for i in range(0, head_dim, 2):
        wavelength = 2 * 3.141592653589793 * rope["rope_theta"] ** (i / head_dim)
        if wavelength < context / high:
            out.append(1.0)
        elif wavelength > context / low:
            out.append(rope["factor"])
        else:
            smooth = (context / wavelength - low) / (high - low)
            out.append(1 / ((1 - smooth) / rope["factor"] + smooth))
    w.tensor("rope_freqs.weight", [head_dim // 2], "F32", f32_bytes(out))


def put_weights(w, arch, config, tensors, encode=None):
    """tensors: HF name -> (shape, list of floats). encode(name, floats, columns) -> (type, bytes); default F32."""
    for name, (shape, values) in tensors.items():
        columns = shape[-1]
        if arch == "gemma3" and "norm" in name:
            values = [v + 1.0 for v in values]
        if arch == "llama" and (".q_proj." in name or ".k_proj." in name):
            heads = config["num_attention_heads" if ".q_proj." in name else "num_key_value_heads"]
            width = columns if len(shape) == 2 else 1
            rows = [values[i:i + width] for i in range(0, len(values), width)]
            values = [v for row in interleave(rows, heads) for v in row]
        kind, data = encode(name, values, columns) if encode else ("F32", f32_bytes(values))
        w.tensor(gguf_name(arch, name), list(reversed(shape)), kind, data)


def put_tokenizer(w, tokenizer, pre, add_bos=None):
    """A tokenizer.json as the arrays of a GGUF file."""
    model = tokenizer["model"]
    texts = {i: t for t, i in model["vocab"].items()}
    types = dict.fromkeys(texts, NORMAL)
    pieces = model["byte_fallback"]
    for i, text in texts.items():
        if pieces and len(text) == 6 and text.startswith("<0x"):
            types[i] = BYTE
    for added in tokenizer["added_tokens"]:
        texts[added["id"]] = added["content"].replace("\u2581", " ") if pieces else added["content"]
        types[added["id"]] = CONTROL if added["special"] else USER_DEFINED
    count = max(texts) + 1
    w.key("tokenizer.ggml.model", STR, "llama" if pieces else "gpt2")
    w.key("tokenizer.ggml.pre", STR, pre)
    w.array("tokenizer.ggml.tokens", STR, [texts.get(i, f"[PAD{i}]") for i in range(count)])
    w.array("tokenizer.ggml.token_type", I32, [types.get(i, UNUSED) for i in range(count)])
    if pieces:
        # A token's score is the place of the first merge that makes it.
        scores = [0.0] * count
        for rank, (left, right) in reversed(list(enumerate(model["merges"]))):
            scores[model["vocab"][left + right]] = -float(rank)
        w.array("tokenizer.ggml.scores", F32, scores)
        w.key("tokenizer.ggml.add_space_prefix", BOOL, "Prepend" in str(tokenizer["normalizer"]))
    else:
        w.array("tokenizer.ggml.merges", STR, [" ".join(m) for m in model["merges"]])
    if add_bos is not None:
        w.key("tokenizer.ggml.add_bos_token", BOOL, add_bos)
