#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Whatever goes wrong in an audit, its files name directories by their last part, never where they are."""
import json
import os
import pathlib
import shutil
import struct
import subprocess
import tempfile

PHYSARIUM = os.environ["PHYSARIUM"]
GOLDEN = pathlib.Path(os.environ["PHY_SOURCE"]) / "tests/golden"


def make_mixed(folder):
    """Gate as F16, which no path takes that reads gate and up together."""
    shutil.copytree(GOLDEN / "model/tiny-llama3", folder)
    for file in (GOLDEN / "tokenizer/tiny-llama3").iterdir():
        shutil.copy(file, folder)
    data = (folder / "model.safetensors").read_bytes()
    size = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8:8 + size])
    for name, entry in header.items():
        if "gate_proj" in name:
            entry["dtype"] = "F16"
    text = json.dumps(header).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + data[8 + size:])


def audit(work, donor, *options):
    out = work / "out"
    shutil.rmtree(out, ignore_errors=True)
    done = subprocess.run([PHYSARIUM, "audit", str(donor), "--device", "cpu:ref", "--no-bounds", "--no-oracle", "-q", "-o", out,
                           "--junit", out.with_suffix(".xml"), *map(str, options)], capture_output=True, text=True)
    assert done.returncode in (0, 8), done.stderr
    files = [*out.iterdir(), out.with_suffix(".xml")]
    assert len(files) == 4
    for file in files:
        for place in (work, donor.parent):
            assert str(place) not in file.read_text(), (file, place)
    report = json.loads((out / "audit.json").read_text())
    return [skip["reason"] for skip in report["skipped"]], [c for run in report["runs"] for c in run["causes"]]


def main():
    work = pathlib.Path(tempfile.mkdtemp())
    try:
        # Longer than a label may be in a sentence, which then holds but its beginning.
        deep = work / ("d" * 120) / ("e" * 120)
        deep.mkdir(parents=True)
        for donor in (work / "mixed", deep / "mixed"):
            make_mixed(donor)
            reasons, _ = audit(work, donor, "--paths", "interleaved,full_mmap")
            assert any(reason.startswith("mixed: path interleaved is not made of gate f16") for reason in reasons), reasons
        cache = work / "cache"
        audit(work, donor, "--all", "--paths", "exact,interleaved_q4k:dequant", "--cache", cache)
        # A store that was damaged since fails with the place in it.
        store = next(cache.glob("*/q4_k/ffn-00001.bin"))
        data = bytearray(store.read_bytes())
        data[100] ^= 1
        store.write_bytes(data)
        _, causes = audit(work, donor, "--all", "--paths", "exact,interleaved_q4k:dequant", "--cache", cache)
        assert any("q4_k/ffn-00001.bin" in cause for cause in causes), causes
        _, causes = audit(work, donor, "--ffn", store.parent)
        assert any("ffn-00001.bin" in cause for cause in causes), causes
    finally:
        shutil.rmtree(work)


if __name__ == "__main__":
    main()
