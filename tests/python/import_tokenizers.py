#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What Hugging Face `tokenizers` makes of the tokenizer.json files that import writes: the golden ids, line by line.

Five small tokenizers always; those of the real models where the models are ($PHY_MODELS, or tools/get-model's place).
"""
import json
import os
import pathlib
import subprocess
import sys
import tempfile

TESTS = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(TESTS / "support"))
sys.dont_write_bytecode = True
import gguf_writer  # noqa: E402

try:
    from tokenizers import Tokenizer
except ImportError:
    # ctest runs this with any python; the one that PHY_PYTHON names may have the module.
    other = os.environ.get("PHY_PYTHON")
    if other and not os.environ.get("PHY_TRIED"):
        os.environ["PHY_TRIED"] = "1"
        os.execv(other, [other, __file__])
    print("skipped: no python module `tokenizers` (PHY_PYTHON may name a python that has it)")
    sys.exit(77)

GOLDEN = TESTS / "golden" / "tokenizer"
SMALL = {"tiny-qwen2": "qwen2", "tiny-qwen3": "qwen2", "tiny-llama3": "llama-bpe", "tiny-mistral": "default",
         "tiny-gemma3": "default"}
REAL = {"smol": ("smol.gguf", "smollm2.gguf"), "gemma": ("gemma.gguf", "gemma3-270m.gguf")}
BROKEN = []


def text_of(line):
    return bytes.fromhex(line["text_hex"]).decode() if "text_hex" in line else line["text"]


def expect(what, got, wanted):
    if got != wanted:
        BROKEN.append(what)
        print(f"{what}: {got} instead of {wanted}")


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def check_encoding(name, tokenizer, cases):
    for number, line in enumerate(cases, 1):
        where, text = f"{name} line {number}", text_of(line)
        expect(where, tokenizer.encode(text, add_special_tokens=False).ids, line["ids_without_special"])
        expect(where, tokenizer.encode(text).ids, line["ids_with_special"])
        if "ids_special_as_text" in line:
            tokenizer.encode_special_tokens = True
            expect(where, tokenizer.encode(text, add_special_tokens=False).ids, line["ids_special_as_text"])
            tokenizer.encode_special_tokens = False
        if "decoded" in line:
            expect(where, tokenizer.decode(line["ids_without_special"], skip_special_tokens=False), line["decoded"])


def check_decoding(name, tokenizer, cases):
    for number, line in enumerate(cases, 1):
        where = f"{name} decoding line {number}"
        expect(where, tokenizer.decode(line["ids"], skip_special_tokens=False), line["text"])
        expect(where, tokenizer.decode(line["ids"], skip_special_tokens=True), line["text_skip_special"])


def imported(gguf, out):
    done = subprocess.run([os.environ["PHYSARIUM"], "import", gguf, "-o", out, "--quiet"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return Tokenizer.from_file(str(out / "tokenizer.json"))


def zeros(config):
    """Weights of the right shapes: the file is about its tokenizer."""
    h, inter, d = config["hidden_size"], config["intermediate_size"], config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
    q, k = d * config["num_attention_heads"], d * config["num_key_value_heads"]
    family = config["model_type"]
    shapes = {"model.embed_tokens.weight": [config["vocab_size"], h], "model.norm.weight": [h]}
    for n in range(config["num_hidden_layers"]):
        layer = {"self_attn.q_proj.weight": [q, h], "self_attn.k_proj.weight": [k, h], "self_attn.v_proj.weight": [k, h],
                 "self_attn.o_proj.weight": [h, q], "mlp.gate_proj.weight": [inter, h], "mlp.up_proj.weight": [inter, h],
                 "mlp.down_proj.weight": [h, inter], "input_layernorm.weight": [h], "post_attention_layernorm.weight": [h]}
        if family == "qwen2":
            layer |= {"self_attn.q_proj.bias": [q], "self_attn.k_proj.bias": [k], "self_attn.v_proj.bias": [k]}
        if family in ("qwen3", "gemma3_text"):
            layer |= {"self_attn.q_norm.weight": [d], "self_attn.k_norm.weight": [d]}
        if family == "gemma3_text":
            layer |= {"pre_feedforward_layernorm.weight": [h], "post_feedforward_layernorm.weight": [h]}
        shapes |= {f"model.layers.{n}.{name}": shape for name, shape in layer.items()}
    return {name: (shape, [0.0] * (shape[0] * (shape[1] if len(shape) > 1 else 1))) for name, shape in shapes.items()}


def check_kinds(temporary):
    """Every kind of tokenizer.ggml.pre loads, loses no byte of a text, and cuts it as its pattern says."""
    text = "It's 2024: don't  PANIC, 12345!\r\n\n x"
    gpt2 = "It|'s|_2024|:|_don|'t|_|_PANIC|,|_12345|!|RNN|_x"
    digits = "It|'s|_|2|0|2|4|:|_don|'t|_|_PANIC|,|_|1|2|3|4|5|!|RNN|_x"
    single = "It|'s|_|2|0|2|4|:|_don|'t|_|_PANIC|,|_|1|2|3|4|5|!RNN|_x"
    triple = "It|'s|_|202|4|:|_don|'t|_|_PANIC|,|_|123|45|!RNN|_x"
    default = "It|'|s|_|202|4|:|_don|'|t|_|_PANIC|,|_|123|45|!|RNN|_x"
    pieces = {"gpt-2": gpt2, "phi-2": gpt2, "smollm": digits, "starcoder": digits, "refact": digits, "codeshell": digits,
              "llama-bpe": triple, "llama3": triple, "llama-v3": triple, "qwen2": single, "deepseek-r1-qwen": single,
              "tekken": single, "default": default}
    for kind, cut in pieces.items():
        config = json.loads((GOLDEN / "tiny-llama3" / "config.json").read_text())
        writer = gguf_writer.Writer()
        arch = gguf_writer.put_config(writer, config)
        gguf_writer.put_weights(writer, arch, config, zeros(config))
        gguf_writer.put_tokenizer(writer, json.loads((GOLDEN / "tiny-llama3" / "tokenizer.json").read_text()), kind, False)
        (temporary / f"{kind}.gguf").write_bytes(writer.bytes())
        tokenizer = imported(temporary / f"{kind}.gguf", temporary / kind)
        words = "|".join(w for w, _ in tokenizer.pre_tokenizer.pre_tokenize_str(text))
        expect(f"{kind}: words", words.replace("\u0120", "_").replace("\u010d", "R").replace("\u010a", "N"), cut)
        expect(kind, tokenizer.decode(tokenizer.encode(text).ids), text)
    print(f"{len(pieces)} kinds of pre-tokenizer")


def main():
    with tempfile.TemporaryDirectory() as temporary:
        temporary = pathlib.Path(temporary)
        for name, pre in SMALL.items():
            config = json.loads((GOLDEN / name / "config.json").read_text())
            writer = gguf_writer.Writer()
            arch = gguf_writer.put_config(writer, config)
            gguf_writer.put_weights(writer, arch, config, zeros(config))
            gguf_writer.put_tokenizer(writer, json.loads((GOLDEN / name / "tokenizer.json").read_text()), pre)
            (temporary / f"{name}.gguf").write_bytes(writer.bytes())
            cases = lines(GOLDEN / name / "tokenizer-cases.jsonl")
            check_encoding(name, imported(temporary / f"{name}.gguf", temporary / name), cases)
            print(f"{name}: {len(cases)} lines")
        check_kinds(temporary)
        cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "physarium"
        place = pathlib.Path(os.environ.get("PHY_MODELS") or cache)
        for name, files in REAL.items():
            path = next((place / f for f in files if (place / f).exists()), None)
            if not path:
                print(f"{name}: not in {place.name}, skipped")
                continue
            tokenizer = imported(path, temporary / name)
            cases, decodes = lines(GOLDEN / f"tokenizer_{name}.jsonl"), lines(GOLDEN / f"decode_{name}.jsonl")
            check_encoding(name, tokenizer, cases)
            check_decoding(name, tokenizer, decodes)
            print(f"{name}: {len(cases)} lines, {len(decodes)} decodings")
    return 1 if BROKEN else 0


sys.exit(main())
