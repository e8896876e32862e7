#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# usage: every_path_knows_the_capital_of_france.sh MODELS: under every path on the CPU, MODELS/smol goes on with " Paris".
set -euo pipefail

model=$1/smol
[[ -e $model/config.json ]] || { echo "skipped: no smol in PHY_MODELS"; exit 77; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

answers=0
ask() {
    local text
    text=$("$PHYSARIUM" generate "$model" -p "The capital of France is" -n 2 --json "$@" | python3 -c 'import json, sys
page = json.load(sys.stdin)
assert page["ffn"]["path"] == sys.argv[1], page["ffn"]
assert page["ffn"]["device_layers"] == 30
print(page["text"])' "$2")
    [[ $text == " Paris"* ]] || { echo "$2: The capital of France is$text"; exit 1; }
    answers=$((answers + 1))
}
for path in exact full_mmap interleaved sparse; do ask --path $path; done
# Half of the features are enough for this.
ask --path sparse --features 768

while read -r scheme names; do
    "$PHYSARIUM" quantize "$model" -o "$work/$scheme" --scheme "$scheme" --quiet
    for path in $names; do ask --path "$path" --ffn "$work/$scheme"; done
    rm -rf "${work:?}/$scheme"
done <<'SCHEMES'
q8_0 interleaved_q8_0
q6_k interleaved_q6_K
q4_0 interleaved_q4_0
q4_k interleaved_q4k:dequant interleaved_q4k:fused interleaved_q4k:int8
mxfp4 mxfp4_storage
fp8 fp8_storage
fp4 fp4_storage:sparse
fp4_all fp4_storage:sparse
SCHEMES

# What a format costs: the same text, the path against the model's own FFN.
"$PHYSARIUM" quantize "$model" -o "$work/q8_0" --scheme q8_0 --quiet
printf 'The quick brown fox jumps over the lazy dog. %.0s' 1 2 3 >"$work/text"
"$PHYSARIUM" eval "$model" --ffn "$work/q8_0" --baseline "$model" --text "$work/text" --ctx 16 --json >"$work/page"
python3 -c 'import json, sys
page = json.load(open(sys.argv[1]))
assert page["ffn"]["path"] == "interleaved_q8_0" and 0 < page["kl_bits"] < 0.01, page["kl_bits"]
assert 0 < abs(page["delta_perplexity"]) < 0.1 * page["baseline_perplexity"]' "$work/page"
echo "$answers answers"
