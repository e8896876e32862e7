#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A name of no characters, as an unset variable of a script gives it, is a wrong argument, and the sentence says which.
set -euo pipefail

. "$PHY_SOURCE/tests/support/tiny_donor.sh"
. "$PHY_SOURCE/tests/support/commands.sh"
for command in inspect import surgery coverage tokenize generate logits eval calibrate quantize export audit bench; do
    fails 2 "^physarium $command: argument 1 is empty: a name is needed$" "$PHYSARIUM" "$command" "" -q
done
fails 2 "argument 2 is empty" "$PHYSARIUM" coverage donor ""
fails 2 "argument 3 is empty" "$PHYSARIUM" bench compare a.json ""
fails 2 "argument 1 is empty" "$PHYSARIUM" quantize "" -o x --scheme q8_0
fails 2 "argument 1 is empty" "$PHYSARIUM" generate -p hello -- ""

empty() {
    local command=$1 option
    shift
    for option; do
        fails 2 "^physarium $command: the name after $option is empty$" "$PHYSARIUM" "$command" donor "$option" ""
        fails 2 "^physarium $command: the name after $option is empty$" "$PHYSARIUM" "$command" donor "$option="
    done
}
empty import --output
empty surgery --output --calibration --eval
empty coverage --calibration
empty tokenize --file
empty generate --ffn
empty logits --output --ffn
empty eval --text --ids --baseline --html --ffn
empty calibrate --text --ids --output
empty quantize --output
empty export --gguf --vindex --ffn
empty audit --ffn --against --prompts --cache --oracle --bounds --output --html --junit --lock
empty bench --peer --scratch --output --csv --markdown --html --junit
fails 2 "the name after --output is empty" "$PHYSARIUM" quantize donor -o "" --scheme q8_0

# An empty text is a text.
"$PHYSARIUM" tokenize donor -p "" >/dev/null
