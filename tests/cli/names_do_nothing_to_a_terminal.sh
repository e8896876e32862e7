#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A name with an escape sequence, a newline and a byte that is not UTF-8 is escaped in everything that is printed, and
# what is JSON stays JSON; the file that is made has the name that was given.
set -euo pipefail

. "$PHY_SOURCE/tests/support/tiny_donor.sh"
evil=$'a\e[2Jb\nZ\xffd\u202e"é\\'
shown='a\u001b[2Jb\u000aZ\xffd\u202e"é'"\\"
cp -r donor "$evil donor"
# runs WANTED_EXIT ARGUMENTS...: nothing but printable lines on both streams.
runs() {
    local wanted=$1 code=0
    shift
    "$PHYSARIUM" "$@" >stdout 2>stderr || code=$?
    if [[ $code != "$wanted" ]] || LC_ALL=C grep -q -a -P '[\x00-\x08\x0b-\x1f\x7f\xff]|\xe2\x80\xae' stdout stderr; then
        echo "$*: exit $code, wanted $wanted, and:"
        cat -v stdout stderr
        exit 1
    fi
    # A newline that got through cuts the name in two.
    if grep -q -a '^Z' stdout stderr; then cat -v stdout stderr && exit 1; fi
    cat stdout stderr >both
}
says() { grep -qF -- "$1" both || { echo "not said: $1" && cat both && exit 1; }; }
is_json() { python3 -c 'import json, sys; json.load(open(sys.argv[1]))' "$1"; }

# makes NAME ARGUMENTS...: the summary begins with the name; so does what is said of an output that is there already.
makes() {
    local name=$1
    shift
    runs 0 "$@"
    [[ -e $name ]]
    grep -qF -- "${name/"$evil"/"$shown"}: " stdout || { echo "$*: no summary" && cat stdout && exit 1; }
    runs 2 "$@"
    says "$shown"
    rm -r "$name"
    runs 0 "$@" --json
    is_json stdout
    [[ -e $name ]]
}
makes "$evil pruned" surgery "$evil donor" -o "$evil pruned"
is_json "$evil pruned/physarium/surgery.json"
makes "$evil store" quantize "$evil donor" -o "$evil store" --scheme q8_0
makes "$evil.gguf" export "$evil donor" --ffn "$evil store" --gguf "$evil.gguf"
makes "$evil vindex" export "$evil donor" --vindex "$evil vindex"
runs 0 coverage "$evil donor" "$evil pruned"
runs 0 import "$evil.gguf" -o "$evil imported"
runs 0 inspect "$evil.gguf" --json
is_json stdout

# What is refused.
runs 3 eval "$evil donor" --ids "$evil absent"
says "$shown absent: No such file"
runs 3 eval "$evil donor" --text "$evil absent"
says "$shown absent: No such file"
printf 'xyz' >"$evil ids"
runs 4 eval "$evil donor" --ids "$evil ids"
says "$shown ids: 3 bytes"
runs 3 tokenize donor --file "$evil absent"
says "$shown absent: No such file"
runs 3 bench surgery "$evil absent"
says "$shown absent: No such file"
runs 2 surgery donor --method x --gain "$evil"
says "'$shown'"
runs 2 "$evil"
says "'$shown'"
