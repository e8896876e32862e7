#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# --force replaces what is of the output's kind, and nothing else: not a byte of it is lost, and --force is spoken of only
# where it would help.
set -euo pipefail

. "$PHY_SOURCE/tests/support/tiny_donor.sh"
. "$PHY_SOURCE/tests/support/commands.sh"
quantize=("$PHYSARIUM" quantize donor --scheme q8_0 -q -o)
vindex=("$PHYSARIUM" export donor -q --vindex)
gguf=("$PHYSARIUM" export donor -q --gguf)
surgery=("$PHYSARIUM" surgery donor --device cpu:ref -q -o)
import=("$PHYSARIUM" import donor.gguf -q -o)
"${gguf[@]}" donor.gguf

mkdir things things/empty things/notes things/indexed things/other
cp -r donor things/model
cp donor/model.safetensors things/one.safetensors
echo dear >things/notes/letter
echo '{}' >things/indexed/model.safetensors.index.json
echo '{"num_layers": 1, "kind": "physarium ffn store"}' >things/other/index.json
echo weights >things/other/embeddings.bin
ln -s model things/link
"${quantize[@]}" things/store
"${vindex[@]}" things/vindex
"${gguf[@]}" things/whole.gguf
for kind in store vindex; do
    cp -r "things/$kind" "things/$kind-and-more"
    echo mine >"things/$kind-and-more/notes"
done
digest() { (cd things && find . -printf '%p %y %s %i\n' | sort && find . -type f -exec sha256sum {} + | sort); }
before=$(digest)

# refuses KIND NAME COMMAND...: with --force and without, and nothing is changed.
refuses() {
    local kind=$1 name=things/$2
    shift 2
    fails 2 "^$name exists and is no $kind: --force replaces only" "$@" "$name"
    fails 2 "^$name exists and is no $kind: --force replaces only" "$@" "$name" --force
    [[ $(digest) == "$before" ]] || { echo "$* $name: something was changed"; exit 1; }
}
for name in model one.safetensors empty notes indexed other link whole.gguf vindex store-and-more; do
    refuses store "$name" "${quantize[@]}"
    fails 2 "^things/$name exists and is no store" "$PHYSARIUM" quantize donor --scheme bf16 -q -o "things/$name" --resume
done
for name in model one.safetensors empty notes indexed other link whole.gguf store vindex-and-more; do
    refuses vindex "$name" "${vindex[@]}"
done
for name in model one.safetensors empty notes indexed other link store vindex; do
    refuses ".gguf file" "$name" "${gguf[@]}"
done
for name in empty notes other link whole.gguf store vindex; do
    refuses checkpoint "$name" "${surgery[@]}"
    fails 2 "^things/$name exists and is no checkpoint" "${surgery[@]}" "things/$name" --resume
done
for name in one.safetensors empty notes other link whole.gguf store vindex; do
    refuses "checkpoint directory" "$name" "${import[@]}"
done

# What is of the kind is replaced, and so is an unfinished run.
replaces() {
    local name=$1
    shift
    fails 2 "^$name exists; --force replaces it" "$@" "$name"
    "$@" "$name" --force
}
replaces things/store "$PHYSARIUM" quantize donor --scheme bf16 -q -o
"$PHYSARIUM" inspect things/store | grep -q 'scheme bf16'
replaces things/vindex "${vindex[@]}"
replaces things/whole.gguf "${gguf[@]}"
replaces things/model "${import[@]}"
replaces things/model "${surgery[@]}"
replaces things/one.safetensors "${surgery[@]}"
replaces things/indexed "${surgery[@]}"
(ulimit -f 4 && exec "${quantize[@]}" things/new 2>/dev/null) && exit 1
fails 2 "an unfinished run got to" "${quantize[@]}" things/new
"${quantize[@]}" things/new --force
if compgen -G 'things/.*partial*' >/dev/null; then echo "left over: $(echo things/.*partial*)"; exit 1; fi
