#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# `physarium tokenize`: what it prints and how it exits, held against the file beside this one.
set -euo pipefail

expected=$1
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
cp -r "$PHY_SOURCE/tests/golden/tokenizer/tiny-llama3" "$scratch/donor"
cd "$scratch"
printf 'the\0x\n' >text.txt
printf 'a\xff' >latin.txt
mkdir empty unigram hostile deep
echo '{"model": {"type": "Unigram", "vocab": [["a", 0.0]]}}' >unigram/tokenizer.json
echo '{"model": {"type": "BPE", "vocab": {"a": -1}, "merges": []}}' >hostile/tokenizer.json
{ echo -n '{"normalizer": '; head -c 100000 /dev/zero | tr '\0' '['; } >deep/tokenizer.json

try() {
    echo "\$ physarium $*"
    local status=0
    "$PHYSARIUM" "$@" 2>&1 || status=$?
    echo "[exit $status]"
}
{
    try tokenize donor -p 'The capital of France is'
    try tokenize donor/tokenizer.json -p 'The capital' --no-special
    try tokenize donor -p '<|end_of_text|>é' --json
    try tokenize donor -p '<|end_of_text|>' --special-as-text
    try tokenize donor -p ''
    try tokenize donor --file text.txt
    try tokenize donor --file - <text.txt
    try tokenize donor --decode 510,480,220,66,64
    echo
    try tokenize donor --decode 510,480,127 --no-special --json
    try tokenize donor --file latin.txt
    try tokenize donor --file absent.txt
    try tokenize donor --decode 1,,2
    try tokenize donor --decode 1,-2
    try tokenize donor --decode 510,99999
    try tokenize donor
    try tokenize -p x
    try tokenize empty -p x
    try tokenize unigram -p x
    try tokenize hostile -p x
    try tokenize deep -p x
} >got.txt
diff -u "$expected" got.txt
