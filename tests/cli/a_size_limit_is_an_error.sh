#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A limit on the size of files is an error with a sentence for every command that writes, and leaves no half file.
set -euo pipefail

. "$PHY_SOURCE/tests/support/tiny_donor.sh"
python3 -c 'import struct, sys
sys.stdout.buffer.write(b"".join(struct.pack("<I", i * i * 31 % 512) for i in range(120)))' >ids
"$PHYSARIUM" export donor --gguf donor.gguf -q
limited() {
    local output=$1 code=0
    shift
    (ulimit -f 4 && exec "$PHYSARIUM" "$@" -q) >stdout 2>stderr || code=$?
    if [[ $code != 3 || $(wc -l <stderr) != 1 ]] || ! grep -q "File too large" stderr || [[ -e $output ]]; then
        echo "$*: exit $code, and:"
        cat stderr
        exit 1
    fi
}
limited imported import donor.gguf -o imported
limited pruned surgery donor -o pruned
limited store quantize donor -o store --scheme f32
limited out.gguf export donor --gguf out.gguf
limited vindex export donor --vindex vindex
limited scales calibrate donor --ids ids -o scales
limited logits logits donor --ids "1,2,3,4,5" -o logits
limited page.html eval donor --ids ids --ctx 32 --html page.html
limited page.html audit donor --device cpu:ref --paths full_mmap --no-bounds --no-oracle --html page.html
if compgen -G '*partial-*' >/dev/null; then echo "left over: $(echo ./*partial-*)"; exit 1; fi

# Where not even the journal can say who the run is, nothing is left to go on from, and nobody is told so.
for command in quantize surgery; do
    run=("$command" donor -o out)
    [[ $command == surgery ]] || run+=(--scheme f32)
    said=$(ulimit -f 0 && exec "$PHYSARIUM" "${run[@]}" -q 2>&1) && exit 1
    [[ $said == ".out.physarium-partial/physarium/journal: File too large" ]] || { echo "$command said: $said"; exit 1; }
    [[ ! -e .out.physarium-partial && ! -e out ]]
    "$PHYSARIUM" "${run[@]}" -q
    rm -r out
    # What stands in the journal's place is named where it is, and no resume is promised.
    mkdir -p .out.physarium-partial/physarium/journal
    for how in "" --resume --force; do
        # shellcheck disable=SC2086
        said=$("$PHYSARIUM" "${run[@]}" -q $how 2>&1) && exit 1
        [[ $said == ".out.physarium-partial/physarium/journal: Is a directory" ]] || { echo "$command $how said: $said"; exit 1; }
    done
    rm -r .out.physarium-partial
done
