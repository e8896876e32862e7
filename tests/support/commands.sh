# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# Sourced: what scripts ask of commands.

# field NAME.NAME: of the JSON on stdin.
field() { python3 -c 'import json, sys
value = json.load(sys.stdin)
for key in sys.argv[1].split("."): value = value[key]
print(value)' "$1"; }
# fails CODE TEXT COMMAND...: it ends with that code and one line that holds the text.
fails() {
    local wanted=$1 text=$2 code=0
    shift 2
    "$@" >stdout 2>stderr || code=$?
    if [[ $code != "$wanted" || $(wc -l <stderr) != 1 ]] || ! grep -q -- "$text" stderr; then
        echo "wanted exit $wanted and \"$text\", got exit $code and:"
        cat stderr
        exit 1
    fi
}
