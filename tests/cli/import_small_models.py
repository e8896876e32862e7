#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""import, from the outside: every architecture's names, shapes, bytes and config; shards; what is refused, and how."""
import json
import os
import pathlib
import struct
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "support"))
import gguf_writer as gguf  # noqa: E402
import small_models  # noqa: E402

PHYSARIUM = os.environ["PHYSARIUM"]
WORK = None


def run(*args):
    return subprocess.run([PHYSARIUM, "import", *map(str, args)], capture_output=True, text=True)


def write(name, writer):
    path = WORK / f"{name}.gguf"
    path.write_bytes(writer if isinstance(writer, bytes) else writer.bytes())
    return path


def read_weights(directory):
    out, files = {}, sorted(directory.glob("*.safetensors"))
    for path in files:
        blob = path.read_bytes()
        (n,) = struct.unpack("<Q", blob[:8])
        header = json.loads(blob[8:8 + n])
        assert (8 + n) % 8 == 0 and header.pop("__metadata__") == {"format": "pt"}
        for name, entry in header.items():
            assert entry["dtype"] == "BF16" and name not in out
            begin, end = entry["data_offsets"]
            out[name] = (entry["shape"], blob[8 + n + begin:8 + n + end])
    return out, [p.name for p in files]


def check_config(name, config, directory):
    written = json.loads((directory / "config.json").read_text())
    for key, value in config.items():
        if key == "rms_norm_eps":
            (value,) = struct.unpack("<f", struct.pack("<f", value))
        assert written[key] == value, f"{name}: {key} is {written[key]}, not {value}"
    assert written["tie_word_embeddings"] != small_models.MODELS[name][1]
    if name.startswith("llama"):
        assert written["attention_bias"] == written["mlp_bias"] == (name == "llama-biased")
    if name == "gemma3":
        assert written["layer_types"] == ["sliding_attention"] * 5 + ["full_attention", "sliding_attention"]
        assert written["query_pre_attn_scalar"] == 32
    return written


def every_architecture_gives_its_names_shapes_bytes_and_config():
    for name in small_models.MODELS:
        writer, config, tensors = small_models.build(name)
        out = WORK / name
        done = run(write(name, writer), "-o", f"{out}/", "--json", "--quiet")
        assert done.returncode == 0 and done.stderr == "", done.stderr
        summary = json.loads(done.stdout)
        assert summary["tensor_count"] == len(tensors) and summary["token_count"] == 40
        weights, files = read_weights(out)
        assert files == ["model.safetensors"]
        assert weights.keys() == tensors.keys(), weights.keys() ^ tensors.keys()
        for tensor in tensors:
            assert weights[tensor] == tensors[tensor], f"{name}: {tensor} differs"
        check_config(name, config, out)


def tokens_have_their_places_in_tokenizer_json():
    writer, _, _ = small_models.build("qwen3", pre="qwen2")
    writer.key("tokenizer.chat_template", gguf.STR, "{{ messages }}\n\u00e9\0")
    writer.key("tokenizer.ggml.add_bos_token", gguf.BOOL, True)
    out = WORK / "tokens"
    assert run(write("tokens", writer), "-o", out, "-q").returncode == 0
    tokenizer = json.loads((out / "tokenizer.json").read_text())
    assert tokenizer["model"]["vocab"] == {t: i for i, t in enumerate(small_models.TOKENS)}
    assert [" ".join(m) for m in tokenizer["model"]["merges"]] == small_models.MERGES
    added = {t["content"]: t for t in tokenizer["added_tokens"]}
    assert added.keys() == {"<unk>", "<bos>", "<eos>", "<think>"}
    assert added["<bos>"]["special"] and not added["<think>"]["special"] and added["<think>"]["id"] == 39
    assert tokenizer["normalizer"] == {"type": "NFC"}
    assert tokenizer["post_processor"]["special_tokens"]["<bos>"]["ids"] == [1]
    config = json.loads((out / "tokenizer_config.json").read_text())
    assert config["bos_token"] == "<bos>" and config["eos_token"] == "<eos>" and "pad_token" not in config
    assert config["chat_template"] == "{{ messages }}\n\u00e9\0"


def gemma_layers_may_be_listed_and_ids_may_say_none():
    writer, _, _ = small_models.build("gemma3")
    writer.array("gemma3.attention.sliding_window_pattern", gguf.BOOL, [1, 0, 1, 1, 0, 1, 1])
    writer.key("tokenizer.ggml.padding_token_id", gguf.I32, -1)
    writer.key("tokenizer.ggml.unknown_token_id", gguf.U32, 2**32 - 1)
    writer.key("tokenizer.ggml.eot_token_id", gguf.U32, 39)
    out = WORK / "listed"
    done = run(write("listed", writer), "-o", out, "-q")
    assert done.returncode == 0 and done.stderr == "", done.stderr
    config = json.loads((out / "config.json").read_text())
    assert [t.split("_")[0] for t in config["layer_types"]] == ["sliding", "full", "sliding", "sliding", "full", "sliding",
                                                                "sliding"]
    assert config["pad_token_id"] is None and "unk_token_id" not in config and config["eos_token_id"] == 2
    assert json.loads((out / "generation_config.json").read_text())["eos_token_id"] == [2, 39]


def large_weights_are_sharded_with_an_index():
    writer, _, tensors = small_models.build("llama-biased")
    out = WORK / "sharded"
    done = run(write("sharded", writer), "-o", out, "--shard-bytes", "30000", "-q")
    assert done.returncode == 0, done.stderr
    weights, files = read_weights(out)
    assert weights == tensors and len(files) > 3
    assert files[0] == f"model-00001-of-{len(files):05}.safetensors"
    index = json.loads((out / "model.safetensors.index.json").read_text())
    assert index["metadata"]["total_size"] == sum(len(data) for _, data in tensors.values())
    assert index["weight_map"].keys() == tensors.keys()
    for file in files:
        held = sum(len(tensors[t][1]) for t, f in index["weight_map"].items() if f == file)
        assert 0 < held <= 30000
    inspected = subprocess.run([PHYSARIUM, "inspect", out, "--json"], capture_output=True, text=True)
    assert inspected.returncode == 0 and inspected.stderr == "", inspected.stderr


def a_file_without_a_tokenizer_gives_weights_and_a_warning():
    writer, _, _ = small_models.build("llama")
    for key in [k for k in writer.keys if k.startswith("tokenizer.")]:
        del writer.keys[key]
    out = WORK / "bare"
    done = run(write("bare", writer), "-o", out, "-q")
    assert done.returncode == 0 and "no tokenizer" in done.stderr
    assert not (out / "tokenizer.json").exists() and json.loads((out / "config.json").read_text())["vocab_size"] == 40


def with_key(kind, name, value):
    return lambda w: w.key(name, kind, value)


def without(name):
    return lambda w: w.keys.pop(name)


def with_tensor(name, dims=(64,), kind="F32"):
    size = 4
    for d in dims:
        size *= d
    return lambda w: w.tensor(name, dims, kind, bytes(size if kind == "F32" else size // 4 // 32 * 36))


def with_bytes(name, data):
    def change(w):
        dims, kind, old = w.tensors[name]
        w.tensors[name] = (dims, kind, data(old))
    return change


U32, STR, BOOL, F32 = gguf.U32, gguf.STR, gguf.BOOL, gguf.F32
# (model, change, exit code, words of the message)
REFUSED = [
    ("llama", with_key(STR, "general.architecture", "falcon"), 5, ["general.architecture", "falcon"]),
    ("llama", with_key(STR, "general.architecture", "llama\0"), 5, ["general.architecture"]),
    ("llama", with_key(U32, "general.architecture", 1), 4, ["general.architecture", "string"]),
    ("llama", without("general.architecture"), 4, ["general.architecture", "missing"]),
    ("llama", without("llama.block_count"), 4, ["llama.block_count", "missing"]),
    ("llama", with_key(U32, "llama.block_count", 3), 4, ["blk.2.attn_norm.weight", "missing"]),
    ("llama", with_key(gguf.U64, "llama.block_count", 2**52), 4, ["blk.2.attn_norm.weight", "missing"]),
    ("llama", with_key(U32, "llama.block_count", 1), 4, ["blk.1.", "layer 1"]),
    ("llama", with_key(U32, "llama.block_count", 0), 4, ["llama.block_count"]),
    ("llama", with_key(U32, "llama.attention.head_count", 0), 4, ["llama.attention.head_count"]),
    ("llama", with_key(U32, "llama.attention.head_count_kv", 3), 4, ["3 kv heads"]),
    ("llama", with_key(U32, "llama.embedding_length", 128), 4, ["dimension 0 is 64"]),
    ("llama", with_key(F32, "llama.embedding_length", 64), 4, ["llama.embedding_length", "f32"]),
    ("llama", with_key(F32, "llama.attention.layer_norm_rms_epsilon", float("nan")), 4, ["epsilon", "finite"]),
    ("llama", with_key(U32, "llama.vocab_size", 41), 4, ["40 tokens", "41"]),
    ("llama", with_key(U32, "llama.expert_count", 8), 5, ["llama.expert_count"]),
    ("llama", with_key(U32, "llama.rope.dimension_count", 8), 5, ["llama.rope.dimension_count"]),
    ("llama", with_key(STR, "llama.rope.scaling.type", "longrope"), 5, ["longrope"]),
    ("llama", with_key(U32, "llama.attention.sliding_window", 64), 5, ["sliding_window"]),
    ("llama", with_key(gguf.U16, "split.count", 3), 5, ["split.count"]),
    ("llama", with_tensor("blk.0.ffn_gate_inp.weight"), 5, ["blk.0.ffn_gate_inp.weight", "llama"]),
    ("llama", with_tensor("blk.00.attn_norm.weight"), 5, ["blk.00.attn_norm.weight"]),
    ("llama", with_tensor("per_layer.weight"), 5, ["per_layer.weight"]),
    ("llama", with_tensor("blk.0.attn_q.bias"), 5, ["bias", "missing"]),
    ("llama", with_tensor("blk.0.ffn_up.weight", (64, 96), "Q8_1"), 5, ["blk.0.ffn_up.weight", "Q8_1"]),
    ("llama", with_tensor("blk.0.attn_norm.weight", (64, 1)), 4, ["blk.0.attn_norm.weight", "dimension"]),
    ("llama", lambda w: w.tensors.pop("output_norm.weight"), 4, ["output_norm.weight", "missing"]),
    ("llama3", with_bytes("rope_freqs.weight", lambda b: b[:-4] + struct.pack("<f", 9.0)), 5, ["rope_freqs.weight"]),
    ("llama3", with_bytes("rope_freqs.weight", lambda b: struct.pack("<f", float("nan")) * (len(b) // 4)), 5,
     ["rope_freqs.weight"]),
    ("qwen2", lambda w: w.tensors.pop("blk.1.attn_k.bias"), 4, ["blk.1.attn_k.bias", "missing"]),
    ("qwen2", without("qwen2.rope.scaling.original_context_length"), 4, ["original_context_length", "missing"]),
    ("gemma3", lambda w: w.array("gemma3.attention.sliding_window_pattern", BOOL, [1] * 6), 4, ["6 values for 7 layers"]),
    ("gemma3", without("gemma3.attention.sliding_window"), 4, ["gemma3.attention.sliding_window"]),
    ("llama", with_key(STR, "tokenizer.ggml.model", "bert"), 5, ["tokenizer.ggml.model", "bert"]),
    ("llama", with_key(STR, "tokenizer.ggml.pre", "smaug-bpe"), 5, ["tokenizer.ggml.pre", "smaug-bpe"]),
    ("llama", with_key(U32, "tokenizer.ggml.bos_token_id", 40), 4, ["bos_token_id", "40"]),
    ("llama", without("tokenizer.ggml.merges"), 4, ["tokenizer.ggml.merges", "missing"]),
    ("llama", lambda w: w.array("tokenizer.ggml.merges", STR, ["t h", "q z"]), 5, ["merge 1"]),
    ("llama", lambda w: w.array("tokenizer.ggml.merges", STR, ["th"]), 4, ["merge 0"]),
    ("llama", lambda w: w.array("tokenizer.ggml.merges", U32, [1]), 4, ["tokenizer.ggml.merges", "array"]),
    ("llama", lambda w: w.array("tokenizer.ggml.tokens", STR, ["a"] * 40), 5, ["tokens 0 and 1"]),
    ("llama", lambda w: w.array("tokenizer.ggml.tokens", STR, [b"\xff%d" % i for i in range(40)]), 5, ["token 0", "UTF-8"]),
    ("llama", lambda w: w.array("tokenizer.ggml.token_type", gguf.I32, [1] * 39), 4, ["token_type", "39"]),
    ("llama", lambda w: w.array("tokenizer.ggml.token_type", gguf.I32, [7] * 40), 5, ["token_type", "7"]),
    ("llama", with_key(STR, "tokenizer.ggml.model", "llama"), 4, ["tokenizer.ggml.scores", "missing"]),
    ("llama", with_key(STR, "tokenizer.chat_template", b"\xff"), 5, ["tokenizer.chat_template", "UTF-8"]),
    ("llama", with_key(STR, "tokenizer.chat_template", b"x" * (17 << 20)), 6, ["tokenizer.chat_template", "limit"]),
]


def what_is_not_understood_is_refused_by_name():
    for number, (model, change, code, words) in enumerate(REFUSED):
        writer, _, _ = small_models.build(model)
        change(writer)
        out = WORK / "refused"
        done = run(write("refused", writer), "-o", out, "-q")
        missing = [w for w in words if w not in done.stderr]
        assert done.returncode == code and not missing, f"case {number}: exit {done.returncode}: {done.stderr}"
        assert done.stderr.count("\n") == 1 and len(done.stderr) <= 1024 and not out.exists()
        assert not (WORK / ".refused.physarium-partial").exists()


def unknown_keys_are_warned_of():
    writer, _, _ = small_models.build("llama")
    writer.key("llama.attention.novelty", F32, 2.0)
    done = run(write("novel", writer), "-o", WORK / "novel", "-q")
    assert done.returncode == 0 and "llama.attention.novelty" in done.stderr, done.stderr


def outputs_are_refused_before_anything_is_written():
    path = write("plain", small_models.build("llama")[0])
    out = WORK / "taken"
    assert run(path, "-o", out, "-q").returncode == 0
    before = (out / "config.json").stat().st_ino
    done = run(path, "-o", out, "-q")
    assert done.returncode == 2 and "--force" in done.stderr and (out / "config.json").stat().st_ino == before
    assert run(path, "-o", out, "-q", "--force").returncode == 0 and (out / "config.json").stat().st_ino != before
    assert sorted(p.name for p in WORK.glob(".*")) == []
    (WORK / "precious").mkdir()
    (WORK / "precious" / "thesis.txt").write_text("x")
    assert run(path, "-o", WORK / "precious", "-q", "--force").returncode == 2
    assert (WORK / "precious" / "thesis.txt").exists()
    holder = WORK / "holder"
    holder.mkdir()
    (holder / "model.safetensors").write_text("x")
    (holder / "inside.gguf").write_bytes(path.read_bytes())
    done = run(holder / "inside.gguf", "-o", holder, "-q", "--force")
    assert done.returncode == 2 and (holder / "inside.gguf").exists(), done.stderr
    assert run(path, "-o", path, "-q", "--force").returncode == 2 and path.exists()
    assert run(WORK / "absent.gguf", "-o", WORK / "x", "-q").returncode == 3
    assert run(WORK, "-o", WORK / "x", "-q").returncode == 4
    assert run(out / "model.safetensors", "-o", WORK / "x", "-q").returncode == 4
    assert run(path).returncode == 2 and run("-o", "x").returncode == 2 and run(path, path, "-o", "x").returncode == 2


def a_leftover_of_a_killed_run_is_swept_away():
    path = write("again", small_models.build("llama")[0])
    partial = WORK / ".again.physarium-partial"
    (partial / "physarium").mkdir(parents=True)
    (partial / "model.safetensors").write_text("half")
    (partial / "model-00001-of-00002.safetensors").write_text("half")
    assert run(path, "-o", WORK / "again", "-q").returncode == 0
    assert not partial.exists() and len(list((WORK / "again").iterdir())) == 5
    (partial / "physarium").mkdir(parents=True)
    (partial / "physarium" / "journal").write_text("work of another command")
    done = run(path, "-o", WORK / "again", "--force", "-q")
    assert done.returncode == 0, done.stderr
    (partial / "physarium").mkdir(parents=True)
    (partial / "physarium" / "journal").write_text("work of another command")
    done = run(path, "-o", WORK / "again", "-q")
    assert done.returncode == 2, done.stderr


def help_names_every_option():
    done = run("--help")
    assert done.returncode == 0 and done.stderr == ""
    assert all(option in done.stdout for option in ["-o", "--force", "--shard-bytes", "--json", "--quiet"])


TESTS = [every_architecture_gives_its_names_shapes_bytes_and_config, tokens_have_their_places_in_tokenizer_json,
         gemma_layers_may_be_listed_and_ids_may_say_none, large_weights_are_sharded_with_an_index, a_file_without_a_tokenizer_gives_weights_and_a_warning,
         what_is_not_understood_is_refused_by_name, unknown_keys_are_warned_of,
         outputs_are_refused_before_anything_is_written, a_leftover_of_a_killed_run_is_swept_away, help_names_every_option]
# Many small files, each fsynced: in memory, where there is some.
MEMORY = "/dev/shm"
if not os.access(MEMORY, os.W_OK) or os.statvfs(MEMORY).f_bavail * os.statvfs(MEMORY).f_frsize < 512 << 20:
    MEMORY = None
for test in TESTS:
    with tempfile.TemporaryDirectory(dir=MEMORY) as temporary:
        WORK = pathlib.Path(temporary)
        test()
        print(test.__name__.replace("_", " "))
