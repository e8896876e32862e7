#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# By hand, not by ctest: a real model and its pruned copy load with transformers and torch, and both can write.
set -euo pipefail

venv=$PHY_BUILD/venv-transformers
work=$PHY_BUILD/check-transformers
if [[ ! -e $venv/complete ]]; then
    python3 -m venv "$venv"
    "$venv/bin/python" -m pip install --quiet torch transformers
    touch "$venv/complete"
fi
mkdir -p "$work"
model=$("$PHY_SOURCE/tools/get-model" smollm2)
if [[ ! -e $work/donor/model.safetensors ]]; then "$PHYSARIUM" import "$model" -o "$work/donor" --quiet; fi
"$PHYSARIUM" surgery "$work/donor" -o "$work/pruned" --resume --quiet
"$venv/bin/python" "$PHY_SOURCE/tests/python/check_transformers.py" "$work/donor" "$work/pruned"
