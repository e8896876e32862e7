#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What a run did not make is not in its output: --resume names it and leaves it alone, and goes on once it is gone.
set -euo pipefail

. "$PHY_SOURCE/tests/support/tiny_donor.sh"
. "$PHY_SOURCE/tests/support/commands.sh"
mkdir donor/extra
echo kept >donor/extra/notes
echo secret >elsewhere

# interrupted COMMAND...: a run whose first file was too large.
interrupted() {
    rm -rf out .out.physarium-partial
    # shellcheck disable=SC2016 # the inner shell expands them
    fails 3 "File too large.*--resume goes on from here" bash -c 'ulimit -f 100; exec "$0" "$@"' "$@"
}
# names ENTRY COMMAND...: a resume does, and nothing is lost.
names() {
    local entry=.out.physarium-partial/$1
    shift
    local before
    before=$(find .out.physarium-partial -printf '%p %y %s\n' | sort)
    fails 2 "^$entry: this run did not make it" "$@" --resume
    fails 2 "^$entry: this run did not make it" "$@" --resume --force
    [[ ! -e out && $(find .out.physarium-partial -printf '%p %y %s\n' | sort) == "$before" ]]
}
for command in quantize surgery; do
    run=("$PHYSARIUM" "$command" donor -q -o out)
    data=model.safetensors
    [[ $command == surgery ]] || run+=(--scheme bf16) data=ffn-00001.bin
    "${run[@]}"
    mv out whole
    rm -rf whole/physarium
    interrupted "${run[@]}"
    for entry in strange physarium/strange ffn-00002.bin ffn-1.bin physarium/journal.old .hidden $'two\nlines'; do
        echo x >".out.physarium-partial/$entry"
        names "${entry/$'\n'/\\\\u000a}" "${run[@]}"
        rm ".out.physarium-partial/$entry"
    done
    mkdir .out.physarium-partial/folder
    names folder "${run[@]}"
    rmdir .out.physarium-partial/folder
    mkfifo .out.physarium-partial/index.json
    names index.json "${run[@]}"
    rm .out.physarium-partial/index.json
    for other in "ln -s ../elsewhere" mkdir mkfifo; do
        mv ".out.physarium-partial/$data" data
        $other ".out.physarium-partial/$data"
        names "$data" "${run[@]}"
        rm -r ".out.physarium-partial/$data"
        mv data ".out.physarium-partial/$data"
    done
    "${run[@]}" --resume
    rm -rf out/physarium
    diff -r whole out

    # --force alone discards all of it.
    interrupted "${run[@]}"
    echo x >.out.physarium-partial/strange
    "${run[@]}" --force
    rm -rf out/physarium
    diff -r whole out
    rm -r whole out
done
[[ $(cat elsewhere) == secret ]]

# A folder or file that the donor has, and so the output, is where it should be.
run=("$PHYSARIUM" surgery donor -q -o out)
interrupted "${run[@]}"
mkdir -p .out.physarium-partial/extra
echo x >.out.physarium-partial/extra/strange
names extra/strange "${run[@]}"
rm .out.physarium-partial/extra/strange
"${run[@]}" --resume
diff -r donor/extra out/extra
