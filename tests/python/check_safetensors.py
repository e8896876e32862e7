#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Open a donor and its pruned copy with Hugging Face's safetensors and compare them tensor by tensor.

usage: check_safetensors.py DONOR PRUNED [--self-test]

Tensors that are no targets must hold the same bytes; targets may differ by weights that became +0 and by nothing else.
numpy has no bfloat16, so tensors are compared as raw unsigned integers of the element's size: that is also stricter than
comparing values, since it tells +0 from -0 and one NaN from another. Exit: 0 right, 1 wrong, 77 no safetensors.
"""
import json
import os
import re
import sys

try:
    import numpy as np
    import safetensors
except ImportError as error:
    print(f"{error}: skipped")
    sys.exit(77)

TARGET = re.compile(r"(^|\.)layers\.\d+\.(self_attn\.[qkvo]_proj|mlp\.(gate|up|down)_proj)\.weight$")
FLOATS = ("BF16", "F16", "F32")
ELEMENT = {8: np.uint8, 16: np.uint16, 32: np.uint32, 64: np.uint64}
BITS = {"BF16": 16, "F16": 16, "F32": 32, "F64": 64, "I8": 8, "U8": 8, "BOOL": 8, "I16": 16, "U16": 16, "I32": 32,
        "U32": 32, "I64": 64, "U64": 64, "F8_E4M3": 8, "F8_E5M2": 8}


def load(path):
    """{tensor: (dtype, shape, raw elements)} of a directory or file, by the package's own reader of the format."""
    files = [path] if os.path.isfile(path) else sorted(
        os.path.join(path, name) for name in os.listdir(path) if name.endswith(".safetensors"))
    if not files:
        sys.exit(f"{path}: no safetensors files")
    tensors = {}
    for file in files:
        with open(file, "rb") as handle:
            content = handle.read()
        for name, tensor in safetensors.deserialize(content):
            raw = np.frombuffer(tensor["data"], ELEMENT[BITS[tensor["dtype"]]])
            tensors[name] = (tensor["dtype"], tuple(tensor["shape"]), raw)
    return tensors


def is_target(name, dtype, shape):
    return len(shape) == 2 and dtype in FLOATS and TARGET.search(name) is not None


def compare(donor, pruned):
    """(problems, counts): at most one sentence for each tensor."""
    problems, counts = [], {"tensors": 0, "targets": 0, "weights": 0, "killed": 0}
    for name in sorted(donor.keys() ^ pruned.keys()):
        problems.append(f"{name}: only in the {'donor' if name in donor else 'pruned copy'}")
    for name in sorted(donor.keys() & pruned.keys()):
        (dtype, shape, before), (new_dtype, new_shape, after) = donor[name], pruned[name]
        counts["tensors"] += 1
        if (dtype, shape) != (new_dtype, new_shape):
            problems.append(f"{name}: {dtype} {shape} became {new_dtype} {new_shape}")
            continue
        changed = np.flatnonzero(before != after)
        if not is_target(name, dtype, shape):
            if changed.size:
                problems.append(f"{name}: is no target and differs at element {changed[0]}")
            continue
        counts["targets"] += 1
        counts["weights"] += before.size
        counts["killed"] += changed.size
        sign = before.dtype.type(1 << (before.itemsize * 8 - 1))
        wrong = changed[(after[changed] != 0) | (before[changed] == sign)]  # a zero keeps its sign
        if wrong.size:
            row, column = divmod(int(wrong[0]), shape[1])
            problems.append(f"{name}: [{row}, {column}] was {before[wrong[0]]:#x} and is {after[wrong[0]]:#x}")
    return problems, counts


def check_sidecars(donor, pruned):
    if not os.path.isdir(donor):
        return []
    problems = []
    for name in ("config.json", "model.safetensors.index.json", "tokenizer.json", "generation_config.json"):
        before, after = os.path.join(donor, name), os.path.join(pruned, name)
        if os.path.exists(before) and (not os.path.exists(after) or open(before, "rb").read() != open(after, "rb").read()):
            problems.append(f"{name}: is not the donor's")
    return problems


def check_report(pruned, counts):
    """Our own count against the one in the report, where there is one."""
    path = os.path.join(pruned, "physarium", "coverage.json")
    if not os.path.exists(path):
        return []
    with open(path, encoding="utf-8") as file:
        report = json.load(file)
    killed = report.get("killed_elements")
    return [] if killed == counts["killed"] else [f"coverage.json says {killed} killed, {counts['killed']} were counted"]


def self_test(donor, pruned):
    """The comparison itself must see each kind of damage."""
    target = next(n for n, (d, s, _) in sorted(pruned.items()) if is_target(n, d, s))
    other = next(n for n, (d, s, _) in sorted(pruned.items()) if not is_target(n, d, s))
    for name, damage in ((target, lambda raw: raw.__setitem__(7, raw[7] ^ 0x8001)),
                         (other, lambda raw: raw.__setitem__(3, 0))):
        dtype, shape, raw = pruned[name]
        copy = raw.copy()
        damage(copy)
        if not compare(donor, dict(pruned, **{name: (dtype, shape, copy)}))[0]:
            return [f"the comparison does not see a damaged {name}"]
    missing = {n: t for n, t in pruned.items() if n != target}
    return [] if compare(donor, missing)[0] else ["the comparison does not see a missing tensor"]


def main(arguments):
    test_self = "--self-test" in arguments
    paths = [a for a in arguments if a != "--self-test"]
    if len(paths) != 2:
        sys.exit(__doc__)
    donor, pruned = load(paths[0]), load(paths[1])
    problems, counts = compare(donor, pruned)
    problems += check_sidecars(*paths) + check_report(paths[1], counts)
    if counts["targets"] == 0:
        problems.append("no targets at all")
    elif counts["killed"] == 0:
        problems.append("nothing was pruned")
    if test_self and not problems:
        problems += self_test(donor, pruned)
    for problem in problems:
        print(problem)
    print(f"{counts['tensors']} tensors, {counts['targets']} targets, {counts['killed']} of {counts['weights']} weights "
          f"killed, {len(problems)} problems")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
