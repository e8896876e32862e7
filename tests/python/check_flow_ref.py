#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Compare a pruned single file with tools/flow_ref.py: check_flow_ref.py TOOLS DONOR OUT [--sparsity S]

Prints the gain that the reference finds. Exits 1 at the first tensor that differs.
"""
import argparse, json, struct, sys
import numpy as np


def tensors(path):
    """Name -> codes (rows, cols) as unsigned integers, in the file's order, and dtype."""
    data = open(path, "rb").read()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8:8 + length])
    header.pop("__metadata__", None)
    for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        begin, end = entry["data_offsets"]
        kind = np.uint32 if entry["dtype"] == "F32" else np.uint16
        yield name, np.frombuffer(data[8 + length + begin:8 + length + end], kind).reshape(entry["shape"]), entry["dtype"]


def widen(codes, dtype):
    if dtype == "BF16":
        return (codes.astype(np.uint32) << np.uint32(16)).view(np.float32)
    return codes.view(np.float16).astype(np.float32) if dtype == "F16" else codes.view(np.float32)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("tools"), parser.add_argument("donor"), parser.add_argument("out")
    parser.add_argument("--sparsity", type=float)
    args = parser.parse_args()
    sys.path.insert(0, args.tools)
    import flow_ref

    donor, flow = list(tensors(args.donor)), {}
    targets = [(name, codes, dtype) for name, codes, dtype in donor if "_proj" in name]
    if args.sparsity:
        gain, share = flow_ref.gain_for_sparsity([widen(c, d) for _, c, d in targets], args.sparsity)
        flow["gain"] = gain
        print("%.9g" % gain)
    for (name, codes, dtype), (_, got, _) in zip(donor, tensors(args.out)):
        if "_proj" in name:
            codes = np.where(flow_ref.prune_matrix(widen(codes, dtype), **flow), codes.dtype.type(0), codes)
        if not (codes == got).all():
            sys.exit("%s differs from the reference" % name)


if __name__ == "__main__":
    main()
