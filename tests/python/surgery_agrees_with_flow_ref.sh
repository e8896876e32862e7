#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Bytes, and the gain of --sparsity, against the executable contract in numpy.
set -euo pipefail

python=${PHY_PYTHON:-python3}
"$python" -c 'import numpy' 2>/dev/null || { echo "needs numpy: skipped"; exit 77; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 "$PHY_SOURCE/tests/support/make_donor.py" donor.safetensors embed:BF16:20x20 \
    model.layers.0.self_attn.q_proj.weight:BF16:300x270 model.layers.0.mlp.up_proj.weight:F32:40x520 \
    model.layers.0.mlp.down_proj.weight:F16:257x33
"$PHYSARIUM" surgery donor.safetensors -o plain.safetensors --quiet
"$python" "$PHY_SOURCE/tests/python/check_flow_ref.py" "$PHY_SOURCE/tools" donor.safetensors plain.safetensors
"$PHYSARIUM" surgery donor.safetensors -o half.safetensors --sparsity 0.5 --quiet --json >half.json
wanted=$("$python" "$PHY_SOURCE/tests/python/check_flow_ref.py" "$PHY_SOURCE/tools" donor.safetensors half.safetensors --sparsity 0.5)
got=$("$python" -c 'import json; print("%.9g" % json.load(open("half.json"))["gain"])')
echo "gain $got, the reference says $wanted"
[ "$got" = "$wanted" ]
