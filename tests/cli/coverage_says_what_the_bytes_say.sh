#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The command on a donor of 2 x 2 weights, 1 2 3 and -0, whose output lost the 1.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

header='{"layers.0.mlp.up_proj.weight":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]}}'
write() { # NAME WEIGHTS
    printf '\\x%02x\\0\\0\\0\\0\\0\\0\\0' "${#header}" >"$1.length"
    { printf '%b' "$(cat "$1.length")" && printf '%s' "$header" && printf '%b' "$2"; } >"$1"
    rm "$1.length"
}
one='\0\0\x80\x3f' two='\0\0\0\x40' three='\0\0\x40\x40' minus_zero='\0\0\0\x80' zero='\0\0\0\0'
write donor.safetensors "$one$two$three$minus_zero"
write good.safetensors "$zero$two$three$minus_zero"
write negative.safetensors "$minus_zero$two$three$minus_zero"
write changed.safetensors "$zero$two$two$minus_zero"
write unzeroed.safetensors "$one$two$three$zero"

expect() { # CODE SENTENCE OUTPUT [OPTIONS]
    local code=0 wanted=$1 sentence=$2
    shift 2
    "$PHYSARIUM" coverage donor.safetensors "$@" >seen.out 2>seen.err || code=$?
    if [[ $code != "$wanted" ]] || ! grep -qF -- "$sentence" seen.out seen.err; then
        echo "coverage $*: exit $code, not $wanted, or not: $sentence"
        cat seen.out seen.err
        exit 1
    fi
}

tensor='tensor 0 "layers.0.mlp.up_proj.weight"'
expect 0 'intact: every byte' good.safetensors
expect 0 'mlp.up_proj        1                4                1              1    25.00%' good.safetensors
expect 0 'by the default names' good.safetensors
expect 0 '"killed_elements":	1' good.safetensors --json
expect 8 "$tensor: row 0, column 0: 0x80000000, the donor has 0x3f800000: a killed weight is +0" negative.safetensors
expect 8 "$tensor: row 1, column 0: 0x40000000, the donor has 0x40400000: a weight keeps its bits or becomes +0" changed.safetensors
expect 8 "$tensor: row 1, column 1: 0x00000000, the donor has 0x80000000: a zero keeps its bits" unzeroed.safetensors
expect 8 '"intact":	false' unzeroed.safetensors --json

# With the flow again the surviving 1 is found out or not by what the flow says, never by a report.
expect 8 'the flow on cpu:ref gives' donor.safetensors --recompute --device cpu:ref --gain 0.0625
expect 2 'options of the flow need --recompute' good.safetensors --gain 5
expect 2 'more than 0' good.safetensors --recompute --gain 0
expect 2 'a donor and an output are needed'
expect 2 '--layers takes' good.safetensors --layers x
expect 3 'absent.safetensors' absent.safetensors
expect 2 'the donor is a file' .
[[ -z $("$PHYSARIUM" coverage -q donor.safetensors good.safetensors 2>&1) ]]
if [[ -c /dev/full ]]; then
    code=0
    "$PHYSARIUM" coverage donor.safetensors good.safetensors >/dev/full 2>/dev/null || code=$?
    [[ $code == 3 ]] || { echo "writing to a full disk: exit $code, not 3"; exit 1; }
fi
