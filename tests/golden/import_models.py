#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Import the two real models, where they are, and compare every tensor and both configs with tests/golden/import.

Models are looked for in $PHY_MODELS, or where tools/get-model puts them.
"""
import csv
import hashlib
import json
import os
import pathlib
import struct
import subprocess
import sys
import tempfile

GOLDEN = pathlib.Path(__file__).with_name("import")
NAMES = {"smol": ("smol.gguf", "smollm2.gguf"), "gemma": ("gemma.gguf", "gemma3-270m.gguf")}


def find_model(model):
    cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "physarium"
    places = [pathlib.Path(os.environ["PHY_MODELS"])] if os.environ.get("PHY_MODELS") else [cache]
    return next((p / n for p in places for n in NAMES[model] if (p / n).exists()), None)


def check_tensors(model, path):
    with open(path, "rb") as f:
        (n,) = struct.unpack("<Q", f.read(8))
        header = json.loads(f.read(n))
        assert header.pop("__metadata__") == {"format": "pt"} and (8 + n) % 8 == 0
        rows = [r for r in csv.DictReader(open(GOLDEN / "tensors.tsv"), delimiter="\t") if r["model"] == model]
        assert len(rows) == len(header), f"{len(header)} tensors, {len(rows)} expected"
        for row in rows:
            entry = header[row["name"]]
            begin, end = entry["data_offsets"]
            f.seek(8 + n + begin)
            assert entry["dtype"] == "BF16" and ",".join(map(str, entry["shape"])) == row["shape"], row["name"]
            assert hashlib.sha256(f.read(end - begin)).hexdigest() == row["sha256_bf16"], f"{row['name']}: other bytes"
    return len(rows)


def main():
    found = {m: find_model(m) for m in NAMES}
    for model, path in found.items():
        if not path:
            print(f"skipped: no {NAMES[model][0]} in $PHY_MODELS or the cache; tools/get-model gets it")
            continue
        with tempfile.TemporaryDirectory() as temporary:
            out = pathlib.Path(temporary) / "out"
            done = subprocess.run([os.environ["PHYSARIUM"], "import", path, "-o", out, "--json", "--quiet"],
                                  capture_output=True, text=True)
            assert done.returncode == 0 and done.stderr == "", done.stderr
            count = check_tensors(model, out / "model.safetensors")
            assert json.loads(done.stdout)["tensor_count"] == count
            for name in ("config", "generation_config"):
                written = json.loads((out / f"{name}.json").read_text())
                expected = json.loads((GOLDEN / f"{model}.{name}.json").read_text())
                assert written == expected, f"{model} {name}.json: {written}"
            assert sorted(p.name for p in out.iterdir()) == ["config.json", "generation_config.json", "model.safetensors",
                                                             "tokenizer.json", "tokenizer_config.json"]
            print(f"{model}: {count} tensors and both configs are the golden ones")
    return 0 if any(found.values()) else 77


sys.exit(main())
