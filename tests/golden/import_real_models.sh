#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# usage: import_real_models.sh OUTPUT: the published models of $PHY_MODELS (or of tools/get-model's cache), imported to OUTPUT/smol
# and OUTPUT/gemma for the tests that run them. Those that are not there are left out.
set -euo pipefail
models=${PHY_MODELS:-${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/physarium}
mkdir -p "$1"
for pair in smol:smollm2 gemma:gemma3-270m; do
    name=${pair%%:*}
    for file in "$models/${pair##*:}.gguf" "$models/$name.gguf"; do
        if [[ -r $file && ! -e $1/$name/config.json ]]; then "$PHYSARIUM" import "$file" -o "$1/$name" --force --quiet; fi
    done
    if [[ -e $1/$name/config.json ]]; then echo "$name: imported"; else echo "$name: not in PHY_MODELS"; fi
done
