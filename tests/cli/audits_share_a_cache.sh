#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# An audit waits for another that makes the store it needs, and makes no store that none of its paths reads.
set -euo pipefail

. "$PHY_SOURCE/tests/support/tiny_donor.sh"
audit() {
    "$PHYSARIUM" audit donor --all --cache cache --paths "$1" --device cpu:ref --no-bounds --no-oracle
}

audit interleaved_q8_0 >/dev/null 2>&1
made=$(cd cache/* && echo *)
[[ $made == "q8_0 q8_0.lock" ]] || { echo "made for interleaved_q8_0: $made"; exit 1; }

cache=$(echo cache/*)
exec {lock}>"$cache/fp8.lock"
flock "$lock"
audit fp8_storage >first.out 2>first.err {lock}>&- &
first=$!
audit fp8_storage >second.out 2>second.err {lock}>&- &
second=$!
for err in first.err second.err; do
    for ((tries = 0; tries < 300; tries++)); do
        if grep -q "store fp8: waiting for another audit" $err; then break; fi
        sleep 0.1
    done
    grep -q "store fp8: waiting for another audit" $err || { cat $err; exit 1; }
done
[[ ! -d $cache/fp8 ]] || { echo "made while it was locked"; exit 1; }
flock -u "$lock"
wait $first || { cat first.err; exit 1; }
wait $second || { cat second.err; exit 1; }
for out in first.out second.out; do
    grep -q "fp8_storage .*pass" $out || { cat $out; exit 1; }
done

flock "$lock"
rm -r "$cache/fp8"
set -m # else a job in the background ignores SIGINT
audit fp8_storage >third.out 2>third.err {lock}>&- &
third=$!
set +m
for ((tries = 0; tries < 300; tries++)); do
    if grep -q "waiting" third.err; then break; fi
    sleep 0.1
done
kill -INT -- -$third
code=0
wait $third || code=$?
[[ $code == 130 && ! -d $cache/fp8 ]] || { echo "interrupted while it waited: exit $code"; exit 1; }
