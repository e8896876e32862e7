#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# usage: audit_meets_bounds.sh IMPORTED: a few paths of a published model, held to audits/bounds.json and to its stored logits.
set -euo pipefail
model=$1/smol
[[ -f $model/config.json && -f $PHY_SOURCE/audits/bounds.json ]] || { echo "skipped: no model or no audits/bounds.json"; exit 77; }
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
"$PHYSARIUM" quantize "$model" -o "$scratch/store" --scheme q4_k -q
bounds=(--bounds "$PHY_SOURCE/audits/bounds.json" --oracle "$PHY_SOURCE/audits/oracle")
"$PHYSARIUM" audit "$model" -q --device cpu "${bounds[@]}" --paths exact,full_mmap -o "$scratch/exact"
"$PHYSARIUM" audit "$model" -q --device cpu "${bounds[@]}" --ffn "$scratch/store" -o "$scratch/q4k"
for run in exact q4k; do
    grep -q '"verdict":[[:space:]]*"absent"' "$scratch/$run/audit.json" && { echo "no stored logits of these weights"; exit 1; }
    grep -q '"source":[[:space:]]*"bounds.json: this path, this model"' "$scratch/$run/audit.json" || { echo "no bound of its own"; exit 1; }
done
