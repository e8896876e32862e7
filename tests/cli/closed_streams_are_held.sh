#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A standard stream that was closed is never the next file that is opened: what is printed would land in it.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
model=$PHY_SOURCE/tests/golden/tokenizer/tiny-llama3
mkfifo text
"$PHYSARIUM" tokenize "$model" --file text <&- >&- 2>&- &
process=$!
for _ in {1..200}; do
    [[ $(readlink "/proc/$process/fd/2" || true) != /dev/null ]] || break
    sleep 0.02
done
for stream in 0 1 2; do [[ $(readlink "/proc/$process/fd/$stream") == /dev/null ]]; done
echo hello >text
code=0
wait $process || code=$?
[[ $code == 3 ]] # its output could not be written

code=0
"$PHYSARIUM" tokenize "$model" --file - <&- >out 2>err || code=$?
[[ $code == 3 && ! -s out && $(wc -l <err) == 1 ]]
code=0
"$PHYSARIUM" tokenize "$model" -p hello >&- 2>err || code=$?
[[ $code == 3 && $(cat err) == "physarium: standard output: Bad file descriptor" ]]
