#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# usage: devices_lists_what_the_machine_has.sh NO_LOADER_LIBRARY SANITIZED
# Without a loader, without a driver and with whatever driver there is: exit 0, the CPU's forms, and one sentence where
# Vulkan is missing.
set -euo pipefail
no_loader=$1 sanitized=$2
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
failures=0
if [[ $sanitized == 1 ]]; then # drivers leak, and are unloaded when that is found; test_flow_backend looks for our leaks
    export ASAN_OPTIONS=detect_leaks=0
fi

# expect WHAT TEXT: stdout of the last run holds the text.
expect() {
    if ! grep -qF -- "$2" "$folder/out"; then
        echo "$1: no '$2' in:"
        cat "$folder/out"
        failures=$((failures + 1))
    fi
}

# run WHAT COMMAND...: exit 0 and nothing on stderr.
run() {
    local what=$1
    shift
    if ! "$@" >"$folder/out" 2>"$folder/err" || [[ -s $folder/err ]]; then
        echo "$what: failed, or wrote to stderr:"
        cat "$folder/err"
        failures=$((failures + 1))
    fi
}

nowhere=(env VK_DRIVER_FILES=/nonexistent VK_ICD_FILENAMES=/nonexistent)
run 'no driver' "${nowhere[@]}" "$PHYSARIUM" devices
expect 'no driver' 'cpu:ref     bit-exact'
expect 'no driver' 'Vulkan: no Vulkan'
expect 'no driver' 'apt install'
run 'no driver, JSON' "${nowhere[@]}" "$PHYSARIUM" devices --json
expect 'no driver, JSON' '{"devices":[{"name":"cpu:ref","kind":"cpu","available":true,"self_tested":true,"bit_exact":true,'
expect 'no driver, JSON' '"vulkan_note":"no Vulkan'

if [[ $sanitized == 1 ]]; then
    echo 'no loader: SKIPPED, a sanitizer wants to be loaded first'
else
    run 'no loader' env LD_PRELOAD="$no_loader" "$PHYSARIUM" devices
    expect 'no loader' 'Vulkan: no Vulkan loader (libvulkan.so.1)'
    expect 'no loader' 'cpu:ref     bit-exact'
    run 'no loader, JSON' env LD_PRELOAD="$no_loader" "$PHYSARIUM" devices --json
    expect 'no loader, JSON' '"vulkan_note":"no Vulkan loader'
fi
if ldd "$PHYSARIUM" | grep -q vulkan; then
    echo 'the program is linked to the loader'
    failures=$((failures + 1))
fi

run 'this machine' "$PHYSARIUM" devices --json
expect 'this machine' '"name":"cpu:ref"'
for form in avx2 avx512; do # listed with available false on a lesser processor
    [[ $(uname -m) != x86_64 ]] || expect 'this machine' "\"name\":\"cpu:$form\",\"kind\":\"cpu\",\"available\":"
done

code=0
"$PHYSARIUM" devices extra >"$folder/out" 2>"$folder/err" || code=$?
if [[ $code != 2 ]]; then
    echo "an argument too many: exit $code, expected 2"
    failures=$((failures + 1))
fi
exit $((failures > 0))
