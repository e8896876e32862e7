#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Signals, full disks, file-size limits and second runs, as a script meets them: exit code and one line.
set -euo pipefail

work=$(mktemp -d)
mounted=
trap '[ -z "$mounted" ] || umount "$mounted"; rm -rf "$work"' EXIT
cd "$work"
python3 "$PHY_SOURCE/tests/support/make_donor.py" donor model.embed.weight:BF16:20000x128 \
    model.layers.0.self_attn.q_proj.weight:BF16:768x1024 --copies 8
run=("$PHYSARIUM" surgery donor --device cpu:ref --threads 1 --memory 16M --quiet)

# fails WANTED_CODE TEXT COMMAND...: exits so, with one line on stderr that holds the text and no more than 1024 bytes.
fails() {
    local wanted=$1 text=$2 code=0
    shift 2
    "$@" >stdout 2>stderr || code=$?
    if [ "$code" != "$wanted" ] || ! grep -q -- "$text" stderr || [ "$(wc -l <stderr)" != 1 ] || [ "$(wc -c <stderr)" -gt 1024 ]; then
        echo "wanted exit $wanted and \"$text\", got exit $code and:"
        cat stderr
        exit 1
    fi
}
wait_for() { for ((i = 0; i < 200; i++)); do [ -e "$1" ] && return; sleep 0.02; done; }

"${run[@]}" -o whole
sum() { (cd "$1" && sha256sum model.safetensors config.json); }

for signal in INT TERM; do
    # A shell without job control starts background jobs with SIGINT ignored; env gives it back.
    env --default-signal=INT "${run[@]}" -o out 2>stderr & pid=$!
    wait_for .out.physarium-partial/physarium/journal
    sleep 0.2
    fails 2 "another run" "${run[@]}" -o out
    fails 2 "another run" "${run[@]}" -o out --force
    kill -"$signal" "$pid"
    code=0
    wait "$pid" || code=$?
    [ "$code" = 130 ] || { echo "SIG$signal: exit $code"; exit 1; }
    [ ! -e out ]
    fails 2 "an unfinished run got to" "${run[@]}" -o out
    fails 2 "gain is 5 there and 4 here" "${run[@]}" -o out --resume --gain 4
    "${run[@]}" -o out --resume
    cmp <(sum whole) <(sum out)
    fails 2 "exists" "${run[@]}" -o out
    "${run[@]}" -o out --resume
    rm -rf out
done

# shellcheck disable=SC2016 # the inner shell expands them
fails 3 "File too large" bash -c 'ulimit -f 9000; exec "$0" "$@"' "${run[@]}" -o out
"${run[@]}" -o out --resume
cmp <(sum whole) <(sum out)

fails 2 "lies inside" "${run[@]}" -o donor/out
fails 2 "what is read" "${run[@]}" -o donor/
fails 2 "more than 0" "${run[@]}" -o new --gain 0
fails 2 "layers takes" "${run[@]}" -o new --layers 3-1
fails 2 "whole number" "${run[@]}" -o new --block many
fails 3 "missing" "$PHYSARIUM" surgery missing -o new --quiet
printf 'GGUF\3\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0' >x.gguf
fails 5 "physarium import" "$PHYSARIUM" surgery x.gguf -o new --quiet
[ ! -e new ] && [ ! -e .new.physarium-partial ]

# A small file system: refused before anything is written.
mkdir small
if mount -t tmpfs -o size=70m none small 2>/dev/null; then
    mounted=$work/small
    fails 3 "bytes are needed" "${run[@]}" -o small/out
    [ -z "$(ls -A small)" ]
    mount -o remount,size=90m small
    "${run[@]}" -o small/out
    cmp <(sum whole) <(sum small/out)
    umount small
    mounted=
else
    echo "no tmpfs here: that part was skipped"
fi
