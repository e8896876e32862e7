#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What a command would take no notice of it does not take: who asks for a file, a format or a device gets it or a sentence.
set -euo pipefail

. "$PHY_SOURCE/tests/support/tiny_donor.sh"
. "$PHY_SOURCE/tests/support/commands.sh"
export VK_ICD_FILENAMES=/nonexistent VK_DRIVER_FILES=/nonexistent
refused() {
    fails 2 "$@"
    [[ ! -s stdout && $(ls) == $'donor\nstderr\nstdout' ]] || { echo "$*: printed or wrote something"; exit 1; }
}
for option in --html --csv --markdown --junit --output --device --format --budget; do
    refused "compare takes no $option" "$PHYSARIUM" bench compare a.json b.json "$option" 1
done
refused "threshold is of compare" "$PHYSARIUM" bench copy --threshold 2 -q
for op in surgery generate; do refused "bench $op takes no --format" "$PHYSARIUM" bench "$op" donor --format bf16 -q; done
refused "bench copy takes no --sparsity" "$PHYSARIUM" bench copy --sparsity 0.1 -q
refused "bench flow takes no --rows" "$PHYSARIUM" bench flow --rows 8 -q
refused "bench scaling takes no --shape" "$PHYSARIUM" bench scaling --shape 64x64 -q
refused "bench copy takes no --cold" "$PHYSARIUM" bench copy --cold -q
refused "names with commas" "$PHYSARIUM" bench matmul --device "" -q
refused "sparsity is of bitmaps" "$PHYSARIUM" bench matmul --sparsity 0.3 --format bf16,q4_k -q
refused "an ffn of 64x64 has 64 features" "$PHYSARIUM" bench ffn --shape 64x64 --top-k 25%,65 -q
for name in cpu:nope cpu:avx512/rows cpux; do
    refused "device .$name.: not one of" "$PHYSARIUM" bench matmul --device "cpu:ref,$name" -q
done

for option in --output --junit --device --ffn --worst; do
    refused "compare takes no $option" "$PHYSARIUM" audit compare a.json b.json "$option" 1
done
refused "show takes no --html" "$PHYSARIUM" audit show a.json --html page.html
refused "show takes no --output" "$PHYSARIUM" audit show a.json -o made
refused "worst is of show" "$PHYSARIUM" audit donor --worst 3
refused "exclude each other" "$PHYSARIUM" audit donor --no-oracle --oracle donor/config.json
refused "exclude each other" "$PHYSARIUM" audit donor --no-bounds --bounds donor/config.json
# A path that no storage of the run can have, before the work; of a store that is named, a skip with its reason.
refused "fused. is not made of the model's own" "$PHYSARIUM" audit donor --device cpu:ref --paths exact,interleaved_q4k:fused -q

# A device that is not there has one exit code, whoever was to use it.
fails 7 "device vulkan:5" "$PHYSARIUM" audit donor --device vulkan:5 --paths exact -q
fails 7 "device vulkan:5" "$PHYSARIUM" logits donor --ids 1 -o out --device vulkan:5 -q
fails 7 "device vulkan:5" "$PHYSARIUM" surgery donor -o out --device vulkan:5 -q

"$PHYSARIUM" audit donor --device cpu:avx2,cpu:ref --paths full_mmap --no-bounds --no-oracle -q -o made
[[ $("$PHYSARIUM" audit show made/audit.json --worst 3 --json | field worst | grep -o "'rel_l2'" | wc -l) == 3 ]]
"$PHYSARIUM" quantize donor -o store --scheme f16 -q
"$PHYSARIUM" audit donor --ffn store --device cpu:ref --paths full_mmap,interleaved_q4k:fused --no-bounds --no-oracle >stdout
grep -q '^skipped interleaved_q4k:fused (f16) on cpu:ref: .*is not made of gate f16' stdout
grep -q '^1 runs, 0 failed, 1 skipped: pass' stdout
"$PHYSARIUM" bench matmul --device cpu:ref --format bf16 --shape 64x64 --rows 1 --warm --budget 1 -q -o a.json >stdout
"$PHYSARIUM" bench compare a.json a.json --threshold 2 --json >stdout
python3 -m json.tool stdout >/dev/null
# What one shape has too few features for is told, not measured as something else.
"$PHYSARIUM" bench ffn --device cpu:ref --format bf16 --shape 64x96,64x64 --top-k 65 --rows 1 --warm --budget 5 -q -o a.json >stdout
grep -q 'LEFT OUT ffn cpu:ref 64x64: walk 65 (it has fewer features)' stdout
[[ $(grep -c 'walk 65 .*64x96' stdout) == 1 ]]
# A device that does not open is one line on standard error.
fails 7 "^device vulkan:5: " "$PHYSARIUM" bench matmul --device vulkan:5 -q -o a.json
grep -q '^FAILED vulkan:5: failed (device) while at: opening' stdout
