#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A model whose weights hold NaN, or make it: what speaks for it says so, whichever form multiplies."""
import json
import os
import pathlib
import shutil
import struct
import subprocess
import tempfile

PHYSARIUM = os.environ["PHYSARIUM"]
GOLDEN = pathlib.Path(os.environ["PHY_SOURCE"]) / "tests/golden"


def run(*args):
    done = subprocess.run([PHYSARIUM, *map(str, args)], capture_output=True)
    return done.returncode, done.stdout, done.stderr.decode()


def copy(folder):
    shutil.copytree(GOLDEN / "model/tiny-llama3", folder)
    for file in (GOLDEN / "tokenizer/tiny-llama3").iterdir():
        shutil.copy(file, folder)


def poison(folder, tensor, code):
    file = folder / "model.safetensors"
    data = bytearray(file.read_bytes())
    size = struct.unpack("<Q", data[:8])[0]
    at = 8 + size + json.loads(data[8:8 + size])[tensor]["data_offsets"][0]
    data[at:at + 2] = struct.pack("<H", code)
    file.write_bytes(data)


def refused(sentence, *args):
    code, out, err = run(*args)
    assert code == 4 and sentence in err and err.count("\n") == 1 and not out.strip(), (args, code, out, err)


def main():
    work = pathlib.Path(tempfile.mkdtemp())
    try:
        copy(work / "whole")
        (work / "ids").write_bytes(struct.pack("<64I", *range(64)))
        text = ["--ids", work / "ids", "--ctx", 16, "-q"]
        assert run("eval", work / "whole", *text, "--baseline", work / "whole")[0] == 0
        tensors = ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "mlp.gate_proj", "mlp.down_proj"]
        for tensor in tensors:
            for code in (0x7FC0, 0x7F80):
                broken = work / f"{tensor}-{code:x}"
                copy(broken)
                poison(broken, f"model.layers.0.{tensor}.weight", code)
                for form in ("ref", "avx2", "avx512"):
                    device = ["--device", f"cpu:{form}"]
                    if run("generate", work / "whole", "-p", "a", "-n", 1, *device)[0]:
                        continue  # a processor without that form
                    for sample in ([], ["--temperature", 1, "--top-k", 5], ["--temperature", 1, "--json"]):
                        refused("position 1: the logits are no finite numbers", "generate", broken, "-p", "a", "-n", 4,
                                "-q", *device, *sample)
                    refused("the model's logits before it are no finite numbers", "eval", broken, *text, *device)
                    refused("the baseline's logits", "eval", work / "whole", *text, "--baseline", broken, *device)
    finally:
        shutil.rmtree(work)


if __name__ == "__main__":
    main()
