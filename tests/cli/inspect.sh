#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# What `physarium inspect` prints and returns: inspect.sh EXPECTED. Standard error's lines begin with "! ".
set -euo pipefail
cd "$PHY_BUILD/cases"
seen=$PHY_BUILD/cli_inspect

try() {
    local code=0
    echo "\$ physarium inspect $*"
    "$PHYSARIUM" inspect "$@" >"$seen.out" 2>"$seen.err" || code=$?
    cat "$seen.out"
    sed 's/^/! /' "$seen.err"
    echo "exit $code"
}

{
    try dir/ok_two_shards
    try --json dir/ok_two_shards
    try dir/ok_stale_sum
    try st/ok_control_names.safetensors
    try --json st/ok_control_names.safetensors
    try gguf/ok_scalar_and_empty.gguf
    try st/ok_empty_object.safetensors
    try st/bad_name_escaped.safetensors
    try dir/bad_absent_shard
    try dir/bad_only_pickle
    try st/bad_rank.safetensors
    try --json st/absent.safetensors
    try
    try st dir
    try --nonsense st
    try --help
} >"$seen.txt"

# A full disk is no success.
if [ -c /dev/full ]; then
    code=0
    "$PHYSARIUM" inspect --json dir/ok_two_shards >/dev/full 2>"$seen.err" || code=$?
    [ "$code" -eq 3 ] || { echo "writing to a full disk exited with $code, not 3"; exit 1; }
fi
diff -u "$1" "$seen.txt"
