#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# What `physarium inspect` prints and returns: inspect.sh EXPECTED. Standard error's lines begin with "! ".
cd "$PHY_BUILD/cases" || exit 1
seen=$PHY_BUILD/cli_inspect

try() {
    echo "\$ physarium inspect $*"
    "$PHYSARIUM" inspect "$@" >"$seen.out" 2>"$seen.err"
    code=$?
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
    "$PHYSARIUM" inspect --json dir/ok_two_shards >/dev/full 2>/dev/null
    [ $? -eq 3 ] || { echo "writing to a full disk did not exit with 3"; exit 1; }
fi
diff -u "$1" "$seen.txt"
