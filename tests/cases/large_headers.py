#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Rule S15: headers of 5 MB that are as dense as can be, against 64 MiB + 8 x N of memory and 10 seconds.

    large_headers.py PHYSARIUM DIR     files are written to DIR one at a time and deleted
    large_headers.py --write CASE FILE
"""
import os
import pathlib
import random
import struct
import subprocess
import sys

N = 5_000_000


def fill(item, opening="{", closing="}"):
    """As many items as fit into N bytes, and their number."""
    parts, total = [], len(opening) + len(closing)
    while True:
        part = item(len(parts))
        total += len(part) + 1
        if total > N:
            return parts, opening, closing
        parts.append(part)


def shuffled(filled):
    random.Random(7).shuffle(filled[0])
    return filled


def tensor(shape, begin="0", end="0"):
    return lambda i: f'"{i:x}":{{"dtype":"U8","shape":[{shape}],"data_offsets":[{eval(begin)},{eval(end)}]}}'


CASES = {
    "tensors without data": lambda: fill(tensor("0")),
    "one-byte tensors in disorder": lambda: shuffled(fill(tensor("1", "i", "i+1"))),
    "sixteen dimensions each": lambda: fill(tensor("0" + ",0" * 15)),
    "keys of metadata": lambda: fill(lambda i: f'"{i:x}":""', '{"__metadata__":{', "}}"),
}


def write(what, path):
    parts, opening, closing = CASES[what]()
    header = (opening + ",".join(parts) + closing).encode()
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(header)) + header)
        f.truncate(8 + len(header) + (len(parts) if "one-byte" in what else 0))


def main():
    if sys.argv[1] == "--write":
        return write(sys.argv[2], sys.argv[3])
    binary, folder = sys.argv[1], pathlib.Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    path, wrong = folder / "large.safetensors", 0
    for what in CASES:
        # By another process: a child's peak counts what its parent held when it forked.
        subprocess.run([sys.executable, __file__, "--write", what, str(path)], check=True)
        child = subprocess.Popen([binary, "inspect", str(path)], stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = code = os.waitstatus_to_exitcode(status)
        seconds, mib = usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024
        limit = 64 + 8 * N / 2**20
        print(f"{what}: exit {code}, {seconds:.2f} s of processor, {mib:.0f} of {limit:.0f} MiB")
        wrong += code != 0 or seconds > 10 or mib > limit
    os.unlink(path)
    sys.exit(wrong > 0)


if __name__ == "__main__":
    main()
