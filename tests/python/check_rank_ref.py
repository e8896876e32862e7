#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Compare a ranked single file with tools/rank_ref.py, byte for byte:

    check_rank_ref.py TOOLS DONOR OUT METHOD (--sparsity S | --pattern N:M) [--calibration FILE]
    check_rank_ref.py TOOLS DONOR --make-calibration FILE

Exits 1 at the first tensor that differs.
"""
import argparse
import json
import struct
import sys

import numpy as np

from check_flow_ref import tensors, widen


def make_calibration(donor, path):
    """Scales of every kind: spread over many powers of two, some zero, some equal."""
    rng = np.random.default_rng(7)
    header, data = {}, b""
    for name, codes, _ in donor:
        if "_proj" in name:
            scale = np.exp2(rng.integers(-6, 6, codes.shape[1])) * rng.choice([0, 1, 1, 1.5, 1.25], codes.shape[1])
            header[name] = {"dtype": "F32", "shape": [codes.shape[1]],
                            "data_offsets": [len(data), len(data) + 4 * codes.shape[1]]}
            data += scale.astype("<f4").tobytes()
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + data)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("tools"), parser.add_argument("donor"), parser.add_argument("out", nargs="?")
    parser.add_argument("method", nargs="?"), parser.add_argument("--sparsity", type=float), parser.add_argument("--pattern")
    parser.add_argument("--calibration"), parser.add_argument("--make-calibration")
    args = parser.parse_args()
    donor = list(tensors(args.donor))
    if args.make_calibration:
        make_calibration(donor, args.make_calibration)
        return
    sys.path.insert(0, args.tools)
    import rank_ref
    scales = {}
    if args.calibration:
        scales = {name: codes.view(np.float32) for name, codes, _ in tensors(args.calibration)}
    for (name, codes, dtype), (_, got, _) in zip(donor, tensors(args.out)):
        if "_proj" in name:
            killed = rank_ref.prune_matrix(widen(codes, dtype), args.method, args.sparsity, args.pattern, scales.get(name))
            codes = np.where(killed, codes.dtype.type(0), codes)
        if not (codes == got).all():
            row, col = np.argwhere(codes != got)[0] if codes.ndim == 2 else (0, 0)
            sys.exit("%s differs from the reference, first at row %d, column %d" % (name, row, col))


main()
