#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A GGUF file in place of a model's directory: the same bytes as from the directory that import makes, and nothing left."""
import json
import os
import pathlib
import shutil
import struct
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "support"))
import small_models  # noqa: E402

PHYSARIUM = os.environ["PHYSARIUM"]
WORK = None


def run(*args, **environment):
    done = subprocess.run([PHYSARIUM, *map(str, args)], capture_output=True,
                          env=dict(os.environ, TMPDIR=str(WORK / "tmp")) | environment)
    assert os.listdir(WORK / "tmp") == [], "something was left behind"
    return done


def both(name, pre="gpt-2"):
    writer, _, _ = small_models.build(name, pre)
    file, directory = WORK / f"{name}.gguf", WORK / name
    file.write_bytes(writer.bytes())
    done = run("import", file, "-o", directory, "-q")
    assert done.returncode == 0, done.stderr
    return file, directory


def every_architecture_runs_from_its_file():
    for name in small_models.MODELS.keys() - {"qwen2"}:  # its YaRN is imported but not run
        file, directory = both(name)
        for command in (["logits", "--ids", "3,7,30,12", "-o", WORK / "out", "--threads", "1", "-q"],
                        ["tokenize", "-p", "a b", "-q"], ["generate", "-p", "a b", "-n", "5", "--ignore-eos", "-q"]):
            said = []
            for model in (directory, file):
                done = run(command[0], model, *command[1:])
                assert done.returncode == 0 and done.stderr == b"", done.stderr
                said.append((done.stdout, (WORK / "out").read_bytes()))
            assert said[0] == said[1], f"{name}: {command[0]}"


def eval_takes_a_file_on_either_side():
    file, directory = both("llama3")
    text = WORK / "text"
    text.write_bytes(bytes(range(3, 40)) * 4)
    words = WORK / "ids"
    words.write_bytes(b"".join(i.to_bytes(4, "little") for i in text.read_bytes()))
    said = {run("eval", a, "--baseline", b, "--ids", words, "--ctx", "16", "--json", "-q").stdout
            for a, b in ((directory, directory), (file, directory), (directory, file), (file, file))}
    assert len(said) == 1 and b'"kl_bits"' in said.pop()


def ids_need_no_tokenizer():
    file, directory = both("llama", "llama-bpe")  # which begins with BOS
    (directory / "tokenizer.json").unlink()
    ids = WORK / "ids"
    ids.write_bytes(b"".join(i.to_bytes(4, "little") for i in list(range(3, 40)) * 4))
    page, scales = WORK / "page.html", WORK / "scales"
    for command in (["eval", directory, "--ids", ids, "--ctx", "10", "--json", "-q", "--html", page],
                    ["calibrate", directory, "--ids", ids, "--ctx", "10", "-q", "-o", scales]):
        done = run(*command)
        assert done.returncode == 0, done.stderr
        assert done.stderr == b"the model has no tokenizer, so no window begins with a BOS token\n", done.stderr
        if command[0] == "eval":
            assert json.loads(done.stdout)["tokens"] == 148 // 10 * 9  # the first of each window is not scored
    done = run("eval", file, "--ids", ids, "--ctx", "10", "--json", "-q")
    assert json.loads(done.stdout)["tokens"] == 148 // 9 * 9 and done.stderr == b"", done  # BOS is
    assert "<mark> " in page.read_text() and scales.stat().st_size > 0
    done = run("eval", directory, "--text", ids, "-q")
    assert done.returncode == 3 and b"tokenizer.json: No such file" in done.stderr, done
    (directory / "tokenizer.json").write_text("{")
    done = run("eval", directory, "--ids", ids, "-q")
    assert done.returncode == 4 and b"tokenizer.json" in done.stderr, done
    done = run("eval", WORK / "absent", "--ids", ids, "-q")
    assert done.returncode == 3 and b"absent" in done.stderr and done.stderr.count(b"\n") == 1, done


def what_cannot_be_run_is_refused_and_leaves_nothing():
    file, _ = both("qwen3")
    cut = WORK / "cut.gguf"
    cut.write_bytes(file.read_bytes()[:3000])
    done = run("generate", cut, "-p", "a")
    assert done.returncode == 4 and done.stderr.startswith(str(cut).encode()), done
    done = run("generate", file, "-p", "a", TMPDIR=str(WORK / "absent"))
    assert done.returncode == 3 and b"absent: No such file or directory" in done.stderr, done
    done = run("logits", file, "--ids", "40", "-o", WORK / "out", "-q")
    assert done.returncode == 2 and b"token 40" in done.stderr, done


def export_writes_the_biases_that_the_config_says():
    _, directory = both("llama-biased")
    config = directory / "config.json"
    biased = json.loads(config.read_text())
    assert biased["attention_bias"] and biased["mlp_bias"]
    out = WORK / "exported.gguf"
    assert run("export", directory, "--gguf", out, "-q").returncode == 0
    for key, tensor in (("attention_bias", b"self_attn.q_proj.bias"), ("mlp_bias", b"mlp.gate_proj.bias")):
        config.write_text(json.dumps(biased | {key: False}))
        done = run("export", directory, "--gguf", out, "--force", "-q")
        assert done.returncode == 5 and tensor in done.stderr and b"would change the result" in done.stderr, done
    _, plain = both("llama")
    config = plain / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"mlp_bias": True}))
    done = run("export", plain, "--gguf", out, "--force", "-q")
    assert done.returncode == 4 and b"mlp.gate_proj.bias\": missing" in done.stderr, done
    _, qwen = both("qwen3")
    config = qwen / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"attention_bias": True}))
    done = run("export", qwen, "--gguf", out, "--force", "-q")
    assert done.returncode == 5 and b"biases of its attention: GGUF's qwen3 has none" in done.stderr, done


def with_tensors(source, names, size):
    """A copy of the directory with more F32 vectors of ones."""
    directory = WORK / "more"
    shutil.rmtree(directory, ignore_errors=True)
    shutil.copytree(source, directory)
    file = directory / "model.safetensors"
    raw = file.read_bytes()
    length = int.from_bytes(raw[:8], "little")
    header, data = json.loads(raw[8:8 + length]), raw[8 + length:]
    for name in names:
        header[name] = {"dtype": "F32", "shape": [size], "data_offsets": [len(data), len(data) + 4 * size]}
        data += struct.pack("<f", 1) * size
    text = json.dumps(header).encode()
    file.write_bytes(len(text).to_bytes(8, "little") + text + data)
    return directory


def export_and_generate_refuse_the_same():
    _, llama = both("llama")
    _, qwen2 = both("qwen2")
    config = json.loads((qwen2 / "config.json").read_text())
    (qwen2 / "config.json").write_text(json.dumps(config | {"rope_parameters": {"rope_type": "default"}}))  # not YaRN
    out = WORK / "exported.gguf"
    for source, name in ((llama, "self_attn.q_norm.weight"), (llama, "self_attn.k_norm.weight"),
                         (llama, "pre_feedforward_layernorm.weight"), (llama, "post_feedforward_layernorm.weight"),
                         (llama, "self_attn.o_proj.bias"), (llama, "mlp.down_proj.bias"),
                         (qwen2, "self_attn.o_proj.bias"), (qwen2, "self_attn.q_norm.weight")):
        name = "model.layers.1." + name
        more = with_tensors(source, [name], 16)
        sentence = f'{more}: tensor "{name}": the architecture in config.json has none, and it would change the result\n'
        for command in (["export", "--gguf", out], ["generate", "-p", "a", "-n", "1"]):
            done = run(command[0], more, *command[1:], "-q")
            assert done.returncode == 5 and done.stderr.decode() == sentence and not out.exists(), done
    more = with_tensors(llama, ["model.layers.0.self_attn.rotary_emb.inv_freq", "vision_tower.bias"], 16)
    assert run("generate", more, "-p", "a", "-n", "1", "-q").returncode == 0
    done = run("export", more, "--gguf", out, "-q")
    assert done.returncode == 0 and done.stderr.startswith(f"{more}: 2 of ".encode()), done
    assert b'left out: "model.layers.0.self_attn.rotary_emb.inv_freq" and more\n' in done.stderr, done


TESTS = [every_architecture_runs_from_its_file, eval_takes_a_file_on_either_side, ids_need_no_tokenizer,
         what_cannot_be_run_is_refused_and_leaves_nothing, export_writes_the_biases_that_the_config_says,
         export_and_generate_refuse_the_same]
for test in TESTS:
    with tempfile.TemporaryDirectory() as temporary:
        WORK = pathlib.Path(temporary)
        (WORK / "tmp").mkdir()
        (WORK / "out").touch()
        test()
        print(test.__name__.replace("_", " "))
