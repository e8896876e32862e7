#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Tensors, shards and bytes are those of the published models; the same options give the same files, and physarium takes them.
set -euo pipefail

python=${PHY_PYTHON:-python3}
"$python" -c 'import numpy' 2>/dev/null || { echo "needs numpy: skipped"; exit 77; }
make=("$python" "$PHY_SOURCE/tools/make-checkpoint")
work=$PHY_BUILD/tests/make-checkpoint
rm -rf "$work"
mkdir -p "$work"
cd "$work"

expect() {
    local found
    found=$("${make[@]}" --dry-run -o x --like "${@:2}")
    [[ $found == "x: $1 bytes of tensor data" ]] || { echo "--like ${*:2}: $found"; exit 1; }
}
expect "339 tensors, 4 shards, 15231233024" qwen2.5-7b
expect "27 tensors, 1 shard, 3112227840" qwen2.5-7b --layers 2
expect "272 tensors, 1 shard, 269030016" smollm2-135m
expect "236 tensors, 1 shard, 536196352" gemma3-270m

for dtype in bf16 f16 f32; do
    "${make[@]}" --like tiny --dtype "$dtype" --quiet -o "one-$dtype"
    "${make[@]}" --like tiny --dtype "$dtype" --quiet -o "two-$dtype"
    diff -r "one-$dtype" "two-$dtype"
    "$PHYSARIUM" inspect "one-$dtype" >"inspect-$dtype.txt"
done
"${make[@]}" --like tiny --seed 2 --quiet -o other
if diff -rq one-bf16 other >/dev/null; then echo "the seed changes nothing" && exit 1; fi
if "${make[@]}" --like tiny --quiet -o other 2>/dev/null; then echo "overwrites without --force" && exit 1; fi
grep -q '20 tensors' inspect-bf16.txt
cd /
rm -rf "$work"
