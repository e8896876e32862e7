#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A small donor of random weights, with nothing but the standard library.

    make_donor.py OUT SPEC...        OUT: a folder (made), or a file ending in .safetensors
    SPEC: name:DTYPE:ROWSxCOLS[@SHARD][!VALUE at row 0, column 0]     such as
          model.layers.0.mlp.up_proj.weight:BF16:64x96@1
    --copies N    repeat every tensor whose name holds layers.0 for layers 0 .. N-1
    --seed N
Shards are numbered from 1; one shard is model.safetensors, more have an index. Two sidecars and a subfolder are added.
"""
import argparse, array, json, os, random, struct


def codes(rng, dtype, count, special):
    values = array.array("f", (rng.gauss(0, 0.02) for _ in range(min(count, 65536))))
    while len(values) < count:  # repeated: what matters is that the bytes are plentiful, not that they are new
        shift = rng.randrange(1, 1000)
        values.extend(values[shift:shift + count - len(values)])
    if special is not None:
        values[0] = special
    raw = values.tobytes()
    if dtype == "F32":
        return raw
    if dtype == "BF16":
        return interleave(raw[2::4], raw[3::4])
    if dtype == "F16":
        return struct.pack("<%de" % count, *values)
    raise SystemExit("dtype " + dtype)


def interleave(low, high):
    out = bytearray(2 * len(low))
    out[0::2] = low
    out[1::2] = high
    return bytes(out)


def write_file(path, tensors, rng):
    header, at = {"__metadata__": {"format": "pt"}}, 0
    for name, dtype, shape, _ in tensors:
        size = (4 if dtype == "F32" else 2)
        for d in shape:
            size *= d
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    text += b" " * (rng.randrange(8))  # unaligned data on purpose
    with open(path, "wb") as out:
        out.write(struct.pack("<Q", len(text)) + text)
        for _, dtype, shape, special in tensors:
            count = 1
            for d in shape:
                count *= d
            out.write(codes(rng, dtype, count, special))
    return at


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("out")
    parser.add_argument("specs", nargs="+")
    parser.add_argument("--copies", type=int, default=1)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    rng, shards = random.Random(args.seed), {}
    for layer in range(args.copies):
        for spec in args.specs:
            spec, _, special = spec.partition("!")
            spec, _, shard = spec.partition("@")
            name, dtype, shape = spec.rsplit(":", 2)
            if layer and "layers.0." not in name:
                continue
            shape = [int(d) for d in shape.split("x")] if shape else []
            tensor = (name.replace("layers.0.", "layers.%d." % layer), dtype, shape, float(special) if special else None)
            shards.setdefault(int(shard or 1), []).append(tensor)
    if args.out.endswith(".safetensors"):
        write_file(args.out, shards[1], rng)
        return
    os.makedirs(args.out + "/extra/deep", exist_ok=True)
    names, total = {}, 0
    for number in sorted(shards):
        file = "model.safetensors" if len(shards) == 1 else "model-%05d-of-%05d.safetensors" % (number, len(shards))
        total += write_file(args.out + "/" + file, shards[number], rng)
        names.update({tensor[0]: file for tensor in shards[number]})
    if len(shards) > 1:
        with open(args.out + "/model.safetensors.index.json", "w") as out:
            json.dump({"metadata": {"total_size": total}, "weight_map": names}, out)
    for file, text in (("config.json", "{}\n"), ("tokenizer.json", "[1]\n"), ("extra/deep/notes.txt", "kept\n")):
        with open(args.out + "/" + file, "w") as out:
            out.write(text)


main()
