#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# physarium bench: a quick look without a driver within 20 seconds, files in every form, nothing of this machine's names in
# them, compare's exit codes, wrong usage.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
failures=0
complain() {
    echo "$*"
    failures=$((failures + 1))
}
# expect CODE COMMAND...
expect() {
    local wanted=$1 code=0
    shift
    "$@" >out 2>err || code=$?
    if [[ $code != "$wanted" ]]; then
        complain "exit $code, expected $wanted: $*"
        cat err
    fi
}

export VK_DRIVER_FILES=/nonexistent VK_ICD_FILENAMES=/nonexistent
cp -r "$PHY_SOURCE/tests/golden/model/tiny-llama3" other
sed -i 's/"model_type": *"llama"/"model_type": "mamba"/' other/config.json
expect 5 "$PHYSARIUM" bench generate other --device cpu:ref --quick --quiet -o other.json
[[ $(cat err) == *'"mamba", which is not supported' && $(wc -l <err) == 1 && ! -e other.json ]] ||
    complain "a model that is not supported: $(cat err)"
rm -r other
begin=$SECONDS
expect 0 "$PHYSARIUM" bench --quick --budget 6 --quiet
# A machine that others keep busy says nothing about ours.
if awk -v n="$(nproc)" '{ exit !($1 <= n) }' /proc/loadavg; then
    ((SECONDS - begin <= 20)) || complain "--quick took $((SECONDS - begin)) s"
fi
grep -q '^ffn ' out || complain "no ffn in the table"
grep -q '^cpu:.* read .* GB/s' out || complain "no roofline in the table"
[[ -s bench.json ]] || complain "no bench.json"
[[ $(ls) == $'bench.json\nerr\nout' ]] || complain "left behind: $(ls)"
grep -q '"vulkan_note"' bench.json || complain "no word of the missing driver"
for name in "$(hostname 2>/dev/null || cat /proc/sys/kernel/hostname)" "$work" "$PHY_SOURCE"; do
    if ((${#name} > 3)) && grep -qF "$name" bench.json; then complain "bench.json holds $name"; fi
done

expect 0 "$PHYSARIUM" bench ffn --device cpu:ref --format bf16,q4_k --shape 256x512 --rows 3 --cold --threads 1 --budget 2 \
    --quiet --json -o a.json --csv a.csv --markdown a.md --html a.html --junit a.xml
cmp -s out a.json || complain "--json is not the file"
for key in op format device kernel shape x_rows cold median_us q1_us q3_us gb_per_s share_of_roofline arithmetic_intensity; do
    grep -q "\"$key\":" a.json || complain "no $key"
done
grep -q '^ffn,bf16,cpu:ref,fused,256x512,3,true,' a.csv || complain "no such row in the CSV"
grep -q '| 256x512 |' a.md || complain "no such row in the Markdown"
grep -q '<circle class=cold' a.html || complain "no point in the page"
if grep -qE '(src|href)="?http|<script' a.html; then complain "the page fetches something"; fi
grep -q '<testcase classname="cpu:ref.ffn"' a.xml || complain "no test case"

expect 0 "$PHYSARIUM" bench ffn --device cpu:ref --format bf16 --shape 64x128 --rows 2 --warm --threads 1 --budget 1 --top-k 25%,3 \
    --quiet -o w.json --csv w.csv
for kernel in fused 'walk 25%' 'sparse 25%' 'walk 3' 'sparse 3'; do
    grep -q "^ffn,bf16,cpu:ref,$kernel,64x128,2,false," w.csv || complain "no row of $kernel"
done
# A quarter of 128 x 96 bf16 values, 16 bytes of bits in each row, 4 for where it begins and the last one ends, 4 of padding, 64 at the
# end; x and y.
expect 0 "$PHYSARIUM" bench matmul --device cpu:ref --format bitmap,bitmap_f32 --sparsity 0.75 --shape 128x96 --rows 1 --warm \
    --threads 1 --budget 3 --quiet --json -o p.json --csv p.csv
grep -q '^matmul,bitmap_bf16 75%,cpu:ref,fused,128x96,1,false,[0-9]' p.csv || complain "no row of a bitmap of bf16"
grep -q '^matmul,bitmap_f32 75%,cpu:ref,fused,128x96,1,false,[0-9]' p.csv || complain "no row of a bitmap of f32"
grep -qE '"sparsity":\s*0.75' p.json || complain "the share of zeros is not told"
((bytes = 128 * 24 * 2 + 128 * 16 + 129 * 4 + 4 + 64 + 4 * (128 + 96)))
grep -qE "\"bytes\":\s*$bytes\b" p.json || complain "no bitmap of $bytes bytes"
expect 0 "$PHYSARIUM" bench ffn --device cpu:ref --format bitmap_f16 --shape 64x128 --rows 8 --cold --threads 1 --budget 1 --quiet \
    -o q.json --csv q.csv
grep -q '^ffn,bitmap_f16 50%,cpu:ref,fused,64x128,8,true,[0-9]' q.csv || complain "no ffn of bitmaps"
for formats in nope '' 'bf16,' 'bf16,,f16'; do
    expect 2 "$PHYSARIUM" bench matmul --format "$formats" --device cpu --quick --quiet -o x.json
done
expect 2 "$PHYSARIUM" bench matmul --sparsity 1.5 --device cpu --quick --quiet -o x.json
# 16384 rows are 34 * 10^9 operations, which one core of the reference takes many seconds for.
begin=$SECONDS
expect 0 "$PHYSARIUM" bench matmul --device cpu:ref --format bf16 --shape 1024x1024 --rows 1,16384 --warm --threads 1 --budget 3 \
    --quiet -o b.json --csv b.csv --markdown b.md --html b.html --junit b.xml
((SECONDS - begin <= 15)) || complain "a budget of 3 s took $((SECONDS - begin)) s"
grep -q '^LEFT OUT matmul cpu:ref 1024x1024, 16384 rows, warm: bf16 fused' out || complain "what was left out is not told"
grep -q '"reason":.*"not run: a run would take about' b.json || complain "no reason in the JSON"
grep -q '^matmul,bf16,cpu:ref,fused,1024x1024,1,false,[0-9]' b.csv || complain "the row that fits is missing"
grep -q '^matmul,bf16,cpu:ref,fused,1024x1024,16384,false,,.*"not run: ' b.csv || complain "no skipped row in the CSV"
grep -q '^- LEFT OUT matmul' b.md || complain "nothing left out in the Markdown"
grep -q '<h2>Left out</h2>' b.html || complain "nothing left out in the page"
grep -q '16384 warm"><skipped message="not run: ' b.xml || complain "no skipped test case"

expect 2 "$PHYSARIUM" bench matmul --top-k 25% --device cpu --quick --quiet -o x.json
expect 2 "$PHYSARIUM" bench ffn --top-k 125% --device cpu --quick --quiet -o x.json

expect 0 "$PHYSARIUM" bench surgery --device cpu --quick --budget 3 --quiet -o s.json
grep -q '^surgery .* cp -r ' out || complain "no cp beside surgery"
expect 0 "$PHYSARIUM" bench copy --device cpu --quick --budget 3 --quiet -o c.json
grep -q '^copy .* file:synced ' out || complain "no copied file"
[[ -z $(find . -name 'bench-*') ]] || complain "left behind: $(find . -name 'bench-*')"

expect 0 "$PHYSARIUM" bench compare a.json a.json
sed -E 's/"median_us":\s*([0-9.e+]+)/"median_us": 1e9/' a.json | sed -E 's/"samples_us":\s*\[[^]]*\]/"samples_us": []/' |
    sed -E 's/"q[13]_us":\s*([0-9.e+]+)/"q0": 0/' >slow.json
expect 8 "$PHYSARIUM" bench compare a.json slow.json --threshold 1.5
expect 0 "$PHYSARIUM" bench compare slow.json a.json
sed 's/"schema":\s*1/"schema": 99/' a.json >other.json
expect 5 "$PHYSARIUM" bench compare a.json other.json
expect 3 "$PHYSARIUM" bench compare a.json absent.json
expect 2 "$PHYSARIUM" bench compare a.json
expect 2 "$PHYSARIUM" bench nothing
expect 2 "$PHYSARIUM" bench ffn --format q5_x --device cpu --quick --budget 1 --quiet -o x.json
# Told to stop: one line, and what was measured until then. A second signal ends it at once, with the same code.
for signals in INT TERM "TERM TERM"; do
    env --default-signal=INT "$PHYSARIUM" bench copy --device cpu --quiet -o stopped.json >out 2>err & pid=$!
    sleep 0.5
    for signal in $signals; do kill -"$signal" "$pid" 2>/dev/null || true; done
    code=0
    wait "$pid" || code=$?
    [[ $code == 130 ]] || complain "SIG$signals: exit $code"
    [[ $signals == *" "* || $(cat err) == interrupted ]] || complain "SIG$signals: not one line: $(cat err)"
done
expect 7 "$PHYSARIUM" bench flow --device vulkan:0,cpu --quick --budget 2 --quiet -o v.json
grep -q '^FAILED vulkan:0' out || complain "the missing device is not told"
grep -q '^flow ' out || complain "the other device's results are lost"
exit $((failures > 0))
