#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# kill_resume.sh [POINTS]: kill -9 surgery at random moments of a run, resume it, and compare SHA-256 of every file.
set -euo pipefail

points=${1:-8}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 "$PHY_SOURCE/tests/support/make_donor.py" donor model.embed.weight:BF16:2000x128 \
    model.layers.0.self_attn.q_proj.weight:BF16:512x768@1 model.layers.0.mlp.up_proj.weight:F16:768x300@2 model.norm.weight:F32:64@2 \
    --copies 3
run=("$PHYSARIUM" surgery donor -o out --device cpu:ref --memory 16M --threads 2 --quiet)
digest() { (cd "$1" && find . -path ./physarium -prune -o -type f -print0 | sort -z | xargs -0 sha256sum); }

before=$(date +%s%N)
"$PHYSARIUM" surgery donor -o whole --device cpu:ref --memory 16M --threads 2 --quiet
took_ms=$((($(date +%s%N) - before) / 1000000 + 1))
digest whole >wanted
RANDOM=7
killed=0 midway=0
for ((point = 0; point < points; point++)); do
    rm -rf out .out.physarium-partial
    "${run[@]}" & pid=$!
    sleep "$(printf '%d.%03d' $((RANDOM % took_ms / 1000)) $((RANDOM * 32768 % took_ms % 1000)))"
    kill -9 "$pid" 2>/dev/null && killed=$((killed + 1))
    wait "$pid" 2>/dev/null || true
    [ -e .out.physarium-partial ] && midway=$((midway + 1))
    if [ -e .out.physarium-partial ]; then # met without --resume, it is refused and left alone
        code=0
        "${run[@]}" 2>/dev/null || code=$?
        [ "$code" = 2 ] || { echo "an unfinished run was met with exit $code"; exit 1; }
    fi
    "${run[@]}" --resume
    digest out >got
    cmp wanted got || { echo "point $point: the bytes differ"; exit 1; }
    [ ! -e .out.physarium-partial ] || { echo "point $point: the partial directory is still there"; exit 1; }
done
echo "$points points, $killed kills, $midway of them with work under way: all the same SHA-256"
