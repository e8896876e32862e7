#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# quantize_kill_resume.sh [POINTS]: kill -9 quantize at random moments of a run, resume it, and compare every byte.
set -euo pipefail

points=${1:-5}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
tensors=()
for layer in 0 1 2; do
    for name in gate up; do tensors+=("model.layers.$layer.mlp.${name}_proj.weight:BF16:3001x1056@$((layer + 1))"); done
    tensors+=("model.layers.$layer.mlp.down_proj.weight:BF16:1056x3001@$((layer + 1))")
done
python3 "$PHY_SOURCE/tests/support/make_donor.py" donor model.embed_tokens.weight:BF16:16x1056 "${tensors[@]}"
cat >donor/config.json <<'END'
{"model_type": "llama", "vocab_size": 16, "hidden_size": 1056, "intermediate_size": 3001, "num_hidden_layers": 3,
 "num_attention_heads": 8, "num_key_value_heads": 8, "max_position_embeddings": 64, "rms_norm_eps": 1e-5,
 "hidden_act": "silu"}
END
run=("$PHYSARIUM" quantize donor -o out --scheme q4_0 --layout by_feature --quiet)
before=$(date +%s%N)
"$PHYSARIUM" quantize donor -o whole --scheme q4_0 --layout by_feature --quiet --threads 1
took_ms=$((($(date +%s%N) - before) / 1000000 + 1))
RANDOM=7
killed=0 midway=0
for ((point = 0; point < points; point++)); do
    rm -rf out .out.physarium-partial
    "${run[@]}" --threads 3 & pid=$!
    sleep "$(printf '%d.%03d' $((RANDOM % took_ms / 1000)) $((RANDOM * 32768 % took_ms % 1000)))"
    kill -9 "$pid" 2>/dev/null && killed=$((killed + 1))
    wait "$pid" 2>/dev/null || true
    [ -e .out.physarium-partial ] && midway=$((midway + 1))
    "${run[@]}" --resume
    diff -r whole out || { echo "point $point: the bytes differ"; exit 1; }
    [ ! -e .out.physarium-partial ] || { echo "point $point: the partial directory is still there"; exit 1; }
done
"$PHYSARIUM" inspect whole | tail -2 | head -1
echo "$points points, $killed kills, $midway of them with work under way: all the same bytes"
