#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Surgery on a small sharded donor of each dtype; the safetensors package opens donor and result and compares them.
set -euo pipefail

python=${PHY_PYTHON:-python3}
"$python" -c 'import numpy, safetensors' 2>/dev/null || { echo "needs numpy and safetensors: skipped"; exit 77; }
work=$PHY_BUILD/tests/python-safetensors
rm -rf "$work"
mkdir -p "$work"
cd "$work"
for dtype in bf16 f16 f32; do
    "$python" "$PHY_SOURCE/tools/make-checkpoint" --like tiny --dtype "$dtype" --quiet -o "donor-$dtype"
    "$PHYSARIUM" surgery "donor-$dtype" -o "pruned-$dtype" --quiet
    "$python" "$PHY_SOURCE/tests/python/check_safetensors.py" "donor-$dtype" "pruned-$dtype" --self-test
done
rm -rf "$work"
