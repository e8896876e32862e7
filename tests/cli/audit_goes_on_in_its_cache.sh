#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What a killed audit left in its cache is finished by the next one, also of a donor that was copied meanwhile.
set -euo pipefail

. "$PHY_SOURCE/tests/support/tiny_donor.sh"
audit() {
    "$PHYSARIUM" audit donor --all --cache cache --paths exact --device cpu:ref --no-bounds --no-oracle -q ||
        { echo "$1: exit $?"; exit 1; }
}
audit "a new cache"
cache=$(echo cache/*)
[[ -d $cache/f32 ]]
for case in "the same donor" "a donor of another time"; do
    rm -rf "${cache:?}"/*
    code=0
    (ulimit -f 32 && exec "$PHYSARIUM" quantize donor -o "$cache/f32" --scheme f32 -q) 2>stderr || code=$?
    [[ $code == 3 && -d $cache/.f32.physarium-partial && ! -d $cache/f32 ]]
    if [[ $case == *time ]]; then touch -d "2001-01-01" donor/model.safetensors; fi
    audit "$case"
    [[ -d $cache/f32 && ! -d $cache/.f32.physarium-partial ]]
done
