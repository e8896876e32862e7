#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Paths as a user names them: each runs and says so, stays near the model's own FFN, and what cannot be is one sentence.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
donor=$PHY_SOURCE/tests/golden/model/tiny-gemma3
other=$PHY_SOURCE/tests/golden/model/tiny-llama3
ids=287,373,13,354,224,480,18,33,240,353
"$PHYSARIUM" logits "$donor" --ids $ids -o baseline
# KL(baseline || logits) in bits, the worst of the positions.
divergence() { python3 -c 'import math, struct, sys
def distribution(path, row):
    with open(path, "rb") as file: file.seek(row * 2048); x = struct.unpack("<512f", file.read(2048))
    total = math.log(math.fsum(map(math.exp, x)))
    return [v - total for v in x]
def kl(row):
    pairs = zip(distribution("baseline", row), distribution(sys.argv[1], row))
    return math.fsum(math.exp(p) * (p - q) for p, q in pairs) / math.log(2)
print(max(map(kl, range(10))))' "$1"; }
# shellcheck source=tests/support/commands.sh
source "$PHY_SOURCE/tests/support/commands.sh"

# check PATH LARGEST_KL OPTIONS...
paths=0
check() {
    local path=$1 most=$2 bits
    shift 2
    "$PHYSARIUM" logits "$donor" --ids $ids --path "$path" "$@" -o logits --json >page
    [[ $(field ffn.path <page) == "$path" && $(field ffn.device_layers <page) == 4 && $(field ffn.bytes_read <page) -gt 0 ]]
    [[ $(wc -c <logits) == $((10 * 512 * 4)) ]]
    bits=$(divergence logits)
    awk -v a="$bits" -v b="$most" 'BEGIN { exit !(a <= b) }' || { echo "$path: $bits bits, $most allowed"; exit 1; }
    echo "$path: $bits bits"
    paths=$((paths + 1))
}
for path in exact full_mmap interleaved sparse; do check $path 1e-9; done
for scheme in q8_0 q6_k q4_0 q4_k mxfp4 fp8 fp4 fp4_all bitmap; do "$PHYSARIUM" quantize "$donor" -o $scheme --scheme $scheme --quiet; done
check interleaved_q8_0 2e-3 --ffn q8_0
check interleaved_q6_K 8e-3 --ffn q6_k
check interleaved_q4_0 0.3 --ffn q4_0
for kernel in dequant fused int8; do check interleaved_q4k:$kernel 0.12 --ffn q4_k; done
check mxfp4_storage 0.35 --ffn mxfp4
check bitmap 1e-9 --ffn bitmap
check fp8_storage 0.02 --ffn fp8
check fp4_storage:sparse 0.15 --ffn fp4
check fp4_storage:sparse 0.15 --ffn fp4_all

# All features are all; fewer are seen to be fewer.
visited() { "$PHYSARIUM" logits "$donor" --ids $ids --path sparse -o "$1" --json "${@:2}" | field ffn.features_visited; }
[[ $(visited all) == $((10 * 4 * 176)) && $(visited whole --features 176) == $((10 * 4 * 176)) ]]
[[ $(visited few --features 44) == $((10 * 4 * 44)) ]]
cmp all whole
if cmp -s all few; then echo "--features 44 changed nothing"; exit 1; fi

# Without a path's name the best that the store offers.
[[ $("$PHYSARIUM" logits "$donor" --ids $ids --ffn q4_k -o logits --json | field ffn.path) == interleaved_q4k:fused ]]

run=("$PHYSARIUM" logits "$donor" --ids "$ids" -o out)
fails 2 "there is no path 'fastest'" "${run[@]}" --path fastest
fails 2 "--features is for sparse paths" "${run[@]}" --features 4
fails 2 "path full_mmap computes every feature" "${run[@]}" --path full_mmap --features 4
fails 2 "has 176" "${run[@]}" --path sparse --features 177
fails 2 "--fallback takes cpu" "${run[@]}" --fallback vulkan
fails 2 "--trust is about a store" "${run[@]}" --trust
fails 2 "no memory of its own" "${run[@]}" --device-memory 8GB
fails 2 "takes a size" "${run[@]}" --device-memory much
fails 5 "path sparse is not made of gate q4_K, up q4_K and down q6_K" "${run[@]}" --ffn q4_k --path sparse
fails 5 "path mxfp4_storage is not made of gate bf16" "${run[@]}" --path mxfp4_storage
fails 3 "absent" "${run[@]}" --ffn absent
fails 8 "made of another model" "$PHYSARIUM" logits "$other" --ids $ids -o out --ffn q4_k
[[ ! -e out ]]
echo "$paths paths"
