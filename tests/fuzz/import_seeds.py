#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""import_seeds.py DIR: one tiny GGUF file for each architecture, whole and importable, as seeds for the fuzz target."""
import pathlib
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "support"))
import gguf_writer as gguf  # noqa: E402
import small_models  # noqa: E402

SMALL = {"hidden_size": 4, "intermediate_size": 2, "num_hidden_layers": 1, "num_attention_heads": 2,
         "num_key_value_heads": 1}


def pieces(writer):
    """A SentencePiece vocabulary of the same size."""
    texts = ["<unk>", "<bos>", "<eos>", "  ", "<0x0A>"] + ["a" * n for n in range(1, 17)]
    texts += [chr(0x400 + n) for n in range(40 - len(texts))]
    writer.keys = {k: v for k, v in writer.keys.items() if not k.startswith("tokenizer.ggml.m")}
    writer.key("tokenizer.ggml.model", gguf.STR, "llama")
    writer.array("tokenizer.ggml.tokens", gguf.STR, texts)
    writer.array("tokenizer.ggml.token_type", gguf.I32, [3, 3, 3, 4, 6] + [1] * 35)
    writer.array("tokenizer.ggml.scores", gguf.F32, [-float(n) for n in range(40)])
    writer.key("tokenizer.ggml.add_space_prefix", gguf.BOOL, False)


out = pathlib.Path(sys.argv[1])
out.mkdir(parents=True, exist_ok=True)
for name, (config, untied, biased, kind) in list(small_models.MODELS.items()):
    small = dict(config, **SMALL)
    small["head_dim"] = 2
    small_models.MODELS[name] = (small, untied, biased, "F32")
    writer, _, _ = small_models.build(name, pre={"llama3": "llama-bpe", "qwen2": "qwen2"}.get(name, "smollm"))
    if name == "gemma3":
        pieces(writer)
    (out / f"{name}.gguf").write_bytes(writer.bytes())
