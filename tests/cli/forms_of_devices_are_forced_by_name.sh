#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A Vulkan device's forms of products by name, on each driver that is there: the device that was used is told with its
# form, all of them say the same, and what cannot be is one sentence.
set -euo pipefail
# shellcheck source=tests/support/tiny_donor.sh
source "$PHY_SOURCE/tests/support/tiny_donor.sh"
# shellcheck source=tests/support/commands.sh
source "$PHY_SOURCE/tests/support/commands.sh"
run=("$PHYSARIUM" generate donor -p "the cat" -n 2 --ignore-eos --quiet)
on() { "${run[@]}" --device "$1" --json; }
wanted=$(on cpu:ref | field text)

# Without a look at any driver.
fails 2 "a form is one of rows, lanes, subgroup" "${run[@]}" --device vulkan/lanse
fails 2 "a form is one of rows, lanes, subgroup" "${run[@]}" --device vulkan:0/rows+lanes
fails 2 "a form is one of rows, lanes, subgroup" "${run[@]}" --device vulkan:0/plain+dot
fails 2 "a form is one of rows, lanes, subgroup" "$PHYSARIUM" bench matmul --device vulkan/lanse -o bench.json -q
fails 2 "for bench matmul, ffn and generate" "$PHYSARIUM" bench flow --device vulkan:0/lanes -o bench.json -q
fails 2 "a form is one of rows, lanes, subgroup" "$PHYSARIUM" audit donor --paths exact --device vulkan:0/lanse -q
fails 2 "the flow has none" "$PHYSARIUM" surgery donor -o pruned --device vulkan:0/lanes -q
[[ ! -e pruned && ! -e bench.json ]]

# What `devices` lists can be forced, and nothing else.
one_driver() {
    local form listed tried=0
    listed=$("$PHYSARIUM" devices --json | python3 -c 'import json, sys
device = next(d for d in json.load(sys.stdin)["devices"] if d["name"] == "vulkan:0")
assert set(device["own_form"].split("+")) <= set(device["forms"]), device
print(*device["forms"])')
    [[ " $listed " == *" rows lanes "* ]]
    for form in rows lanes subgroup matrix rows+plain; do
        if [[ " $listed " != *" ${form%+plain} "* ]]; then
            fails 5 "has no" "${run[@]}" --device "vulkan:0/$form"
            echo "$1: SKIPPED $form: $(cat stderr)"
            continue
        fi
        on "vulkan:0/$form" >page
        [[ $(field device <page) == "vulkan:0/$form" ]]
        [[ $(field text <page) == "$wanted" ]]
        tried=$((tried + 1))
    done
    [[ $(on vulkan | field device) == vulkan:0 ]]
    [[ $(on vulkan/plain+lanes | field device) == vulkan:0/lanes+plain ]]
    "$PHYSARIUM" logits donor --ids 287,373,13 -o logits --path interleaved --device vulkan:0/lanes --json >page
    [[ $(field ffn.device <page) == vulkan:0/lanes ]]
    fails 2 "a form is one of rows, lanes, subgroup" "${run[@]}" --device vulkan:0/lanse
    fails 7 "none of the" "${run[@]}" --device vulkan:nobody/lanes
    echo "$1: $tried forms"
}
# In one report. It takes seconds, and no driver matters: of the first.
report_forms() {
    # Side by side in one audit; a lock wants the device as it is, too.
    "$PHYSARIUM" audit donor --paths exact --device vulkan:0/rows,vulkan/lanes,vulkan:0,vulkan:0/rows -o audited -q >/dev/null
    name=$(python3 -c 'import json
root = json.load(open("audited/audit.json"))
names = [device["name"] for device in root["devices"]]
kernels = {run["device"]: run["dispatch"]["kernels"] for run in root["runs"]}
assert "rows_" in kernels["vulkan:0/rows"] and "lanes_" not in kernels["vulkan:0/rows"], kernels
assert "lanes_" in kernels["vulkan:0/lanes"] and "rows_" not in kernels["vulkan:0/lanes"], kernels
print(*names)')
    [[ $name == "vulkan:0/rows vulkan:0/lanes vulkan:0" ]]
    fails 2 "sets no bounds without vulkan:0" \
        "$PHYSARIUM" audit donor --paths exact --device vulkan:0/lanes --lock locked -q
    [[ ! -e locked/bounds.json ]]

    "$PHYSARIUM" bench matmul --device vulkan:0/rows,vulkan:0/lanes --shape 64x256 --format q4_k --rows 1 --budget 1 -o bench.json \
        -q >/dev/null
    # What a slow machine's budget leaves out is told by device, too.
    python3 -c 'import json
report = json.load(open("bench.json"))
found = {(r["device"], r["kernel"].split("_")[0]) for r in report["results"] if r["kernel"].startswith("fused")}
expected = {("vulkan:0/rows", "fused:rows"), ("vulkan:0/lanes", "fused:lanes")}
assert found and found <= expected, found
assert {d["name"] for d in report["devices"]} == {device for device, kernel in expected}, report["devices"]'
}
drivers=0
export XDG_CACHE_HOME=$work/cache
for icd in /usr/share/vulkan/icd.d/lvp_icd*.json /usr/local/share/vulkan/icd.d/lvp_icd*.json \
    /usr/lib*/chromium*/vk_swiftshader_icd.json /opt/*/chrome/vk_swiftshader_icd.json; do
    [[ -e $icd ]] || continue
    export VK_DRIVER_FILES=$icd VK_ICD_FILENAMES=$icd
    one_driver "${icd##*/}"
    [[ $drivers != 0 ]] || report_forms
    drivers=$((drivers + 1))
done
if [[ $drivers == 0 ]]; then
    echo "SKIPPED: neither lavapipe nor SwiftShader is there"
    exit 77
fi
