#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A number that an option cannot take is named with the option, and the sentence is about nothing else.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
donor=$PHY_SOURCE/tests/golden/model/tiny-llama3
fails() {
    local text=$1 code=0
    shift
    "$PHYSARIUM" "$@" >stdout 2>stderr </dev/null || code=$?
    if [[ $code != 2 || $(wc -l <stderr) != 1 || -s stdout ]] || ! grep -q -- "$text" stderr; then
        echo "$*: wanted exit 2 and \"$text\", got exit $code and:"
        cat stderr
        exit 1
    fi
}
for command in generate eval calibrate logits surgery quantize export audit bench coverage; do
    fails "--threads takes at most 4096, not 4097" $command "$donor" --threads 4097
    fails "--threads takes at most 4096, not 4294967297" $command "$donor" --threads 4294967297
    fails "--threads takes a whole number, not '-1'" $command "$donor" --threads -1
    fails "--threads takes a whole number, not ''" $command "$donor" --threads=
done
fails "--count 0: more than 0" generate "$donor" -p x -n 0
fails "--count takes at most 2147483647" generate "$donor" -p x -n 99999999999
fails "--top-p 0: more than 0" generate "$donor" -p x --top-p 0
fails "--top-k takes at most" generate "$donor" -p x --top-k 4294967296
fails "--device-memory 0: more than 0" generate "$donor" -p x --device-memory 0
fails "--features 0: more than 0" generate "$donor" -p x --features 0
fails "--ctx 0: more than 0" eval "$donor" --text x --ctx 0
fails "--stride takes at most" eval "$donor" --text x --stride 4294967296
fails "--alpha 0: more than 0" calibrate "$donor" --text x -o y --alpha 0
fails "--budget 0: more than 0" audit "$donor" --budget 0
fails "--threshold 0: more than 0" bench compare a b --threshold 0
fails "--budget 0: more than 0" bench copy --budget 0
fails "--timeout 0: more than 0" bench copy --timeout 0
fails "flow takes no input" bench flow "$donor"
fails "--paths names no path" audit "$donor" --paths ""

# What is not there is told before anything is measured, with the exit code of an absent file.
absent() {
    local code=0
    "$PHYSARIUM" "$@" >stdout 2>stderr || code=$?
    [[ $code == 3 && $(cat stderr) == "absent: No such file or directory" && ! -s stdout ]] ||
        { echo "$*: exit $code, $(cat stderr)"; exit 1; }
}
absent bench surgery absent --device cpu:ref -o "$work/report.json"
absent bench generate absent --device cpu:ref -o "$work/report.json"
absent audit "$donor" --oracle absent --device cpu:ref
absent audit show absent
code=0
"$PHYSARIUM" audit show "$work" 2>stderr || code=$?
[[ $code == 3 && $(cat stderr) == "$work: Is a directory" ]]
printf 'GGUF' >model.gguf
code=0
"$PHYSARIUM" calibrate model.gguf --text x -o y 2>stderr || code=$?
[[ $code != 0 && $(cat stderr) != *UTF-8* ]]

code=0
"$PHYSARIUM" eval "$donor" --text "$work" >stdout 2>stderr || code=$?
[[ $code == 3 && $(cat stderr) == "$work: Is a directory" ]]
