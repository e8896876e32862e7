#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Bytes of every method, quota and pattern against the numpy reference; coverage --recompute agrees, too.
set -euo pipefail

python=${PHY_PYTHON:-python3}
"$python" -c 'import numpy' 2>/dev/null || { echo "needs numpy: skipped"; exit 77; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
"$python" "$PHY_SOURCE/tools/rank_ref.py" selftest
python3 "$PHY_SOURCE/tests/support/make_donor.py" donor.safetensors embed:BF16:20x20 \
    model.layers.0.self_attn.q_proj.weight:BF16:130x271 model.layers.0.mlp.up_proj.weight:F32:41x523 \
    model.layers.0.self_attn.k_proj.weight:F16:33x258 model.layers.0.self_attn.v_proj.weight:F16:1x37 \
    model.layers.0.mlp.down_proj.weight:BF16:257x1 model.layers.0.mlp.gate_proj.weight:F32:3x6
check() {
    "$python" "$PHY_SOURCE/tests/python/check_rank_ref.py" "$PHY_SOURCE/tools" donor.safetensors "$@"
}
check --make-calibration calibration.safetensors
# Vulkan drivers leak and are unloaded before a sanitizer could name them; the forms of the CPU are what is asked for here.
devices=$(ASAN_OPTIONS=detect_leaks=0 "$PHYSARIUM" devices)
forms=()
for form in ref avx2 avx512; do
    if grep -q "cpu:$form *bit-exact" <<<"$devices"; then forms+=("$form"); fi
done
count=0
for how in '--sparsity 0.5' '--sparsity 0.37' '--sparsity 0.001' '--sparsity 0.999' '--pattern 2:4' '--pattern 4:8'; do
    for method in magnitude ria 'wanda --calibration calibration.safetensors' 'ria --calibration calibration.safetensors'; do
        form=${forms[$(((count + count / 6) % ${#forms[@]}))]}
        # shellcheck disable=SC2086
        "$PHYSARIUM" surgery donor.safetensors -o out.safetensors --force --quiet --device "cpu:$form" --method $method $how
        # shellcheck disable=SC2086
        check out.safetensors $method $how
        count=$((count + 1))
    done
done
"$PHYSARIUM" coverage donor.safetensors out.safetensors --recompute --calibration calibration.safetensors --json |
    "$python" -c 'import json, sys; assert json.load(sys.stdin)["recompute"]["agrees"]'
echo "$count outputs"
