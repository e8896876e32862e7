#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# quantize, inspect and export of a tiny model, and the exit codes and sentences of what is refused.
set -euo pipefail

work=$(mktemp -d)
mounted=
trap '[ -z "$mounted" ] || umount "$mounted"; rm -rf "$work"' EXIT
cd "$work"
cp -r "$PHY_SOURCE/tests/golden/model/tiny-llama3" donor
fail() {
    echo "$*"
    exit 1
}
# refused CODE FACT COMMAND...: that exit code, one line of error with that fact, nothing on standard output. The tiny models
# have no tokenizer, which is a warning.
refused() {
    local want=$1 fact=$2 code=0
    shift 2
    "$PHYSARIUM" "$@" >out.txt 2>err.txt || code=$?
    [ "$code" = "$want" ] || fail "$* exited with $code, not $want: $(cat err.txt)"
    [ ! -s out.txt ] || fail "$* printed: $(cat out.txt)"
    [ "$(grep -vc 'no tokenizer.json' err.txt)" = 1 ] || fail "$* said: $(cat err.txt)"
    grep -qF -- "$fact" err.txt || fail "$* said: $(cat err.txt)"
}

# ---- quantize and inspect ----
"$PHYSARIUM" quantize donor -o store --scheme q8_0 --threads 2 --json -q >summary.json
grep -q '"scheme": "q8_0", "layer_count": 2, "weight_count": 67584' summary.json || fail "$(cat summary.json)"
grep -q '"relative_rmse": {"all": 0.00' summary.json || fail "$(cat summary.json)"
"$PHYSARIUM" inspect store | sed "s/^digest [0-9a-f]\{32\}$/digest of 32/" >text
diff - text <<'END' || fail "inspect prints something else"
FFN store: scheme q8_0, layout interleaved, 2 of 2 layers, hidden 64, intermediate 176
  layer  matrix           format               rows x cols         bytes    bits  place
      0  gate_up          q8_0                    352 x 64         23936   8.500  "ffn-00001.bin" + 0
      0  down             q8_0                    64 x 176         13056   9.273  "ffn-00001.bin" + 24064
      1  gate_up          q8_0                    352 x 64         23936   8.500  "ffn-00001.bin" + 37120
      1  down             q8_0                    64 x 176         13056   9.273  "ffn-00001.bin" + 61184
total: 4 matrices, 67584 weights, 73984 bytes, 8.758 bits per weight, 1.83 times smaller than 16 bits
digest of 32
END
"$PHYSARIUM" inspect --json store | grep -q '"stored_layers": 2' || fail "inspect --json lacks its layers"
[ ! -e store/physarium ] || fail "a store holds reports"
! grep -qF "$work" store/index.json || fail "index.json holds a path"

refused 2 'exists; --force replaces it' quantize donor -o store --scheme bf16 -q
refused 2 'no scheme "q9"' quantize donor -o other --scheme q9 -q
refused 2 'needs a donor directory' quantize donor --scheme q8_0
refused 2 '--layers takes A-B' quantize donor -o other --scheme q8_0 --layers x
refused 3 'absent' quantize absent -o other --scheme q8_0 -q
"$PHYSARIUM" quantize donor -o store --scheme bf16 --force -q >bf16.txt
[ ! -s bf16.txt ] || fail "quiet was not: $(cat bf16.txt)"
"$PHYSARIUM" quantize donor -o store --scheme bf16 --resume 2>err.txt || fail "a finished store: $(cat err.txt)"
grep -q 'already finished' err.txt || fail "$(cat err.txt)"
printf x | dd of=store/ffn-00001.bin bs=1 seek=30000 conv=notrunc status=none
refused 4 'layer 0 up: digest' inspect store
"$PHYSARIUM" inspect --trust store >/dev/null || fail "--trust read the matrices"
sed -i 's/"cols": 64/"cols": 63/' store/index.json
refused 4 'the model makes it (176, 64)' inspect --json store

# A small file system: refused before anything is written, and nothing is in the next run's way.
mkdir small
if mount -t tmpfs -o size=60m none small 2>/dev/null; then
    mounted=$work/small
    for attempt in "" --resume --force; do
        refused 3 'nothing was written' quantize donor -o small/store --scheme f32 -q $attempt
        [ -z "$(ls -A small)" ] || fail "left: $(ls -A small)"
    done
    mount -o remount,size=90m small
    "$PHYSARIUM" quantize donor -o small/store --scheme f32 -q
    umount small
    mounted=
else
    echo "no tmpfs here: that part was skipped"
fi

# A store where a model is asked for is told to be one, and no pickle.
for command in "logits store --ids 1 -o out" "generate store -p a" "eval store --text donor/config.json"; do
    # shellcheck disable=SC2086
    refused 4 'store: an FFN store or a vindex: --ffn takes it' $command -q
    # shellcheck disable=SC2086
    refused 4 'a single file has no config.json' ${command/store/donor/model.safetensors} -q
done
refused 4 '--ffn takes those' quantize store -o other --scheme q8_0 -q

# ---- export ----
"$PHYSARIUM" quantize donor -o q8 --scheme q8_0 --layout split -q
"$PHYSARIUM" export donor --gguf plain.gguf --json -q >summary.json 2>err.txt
grep -q '"copied_count": 0, "token_count": 0' summary.json || fail "$(cat summary.json)"
grep -q 'no tokenizer.json' err.txt || fail "no word about the tokenizer: $(cat err.txt)"
"$PHYSARIUM" export donor --ffn q8 --gguf stored.gguf >text 2>err.txt
grep -q '4 as they lie in the store' text || fail "$(cat text)" # down's rows of 176 are not whole blocks
grep -q '2 tensors have rows that are not whole blocks and another type: blk.0.ffn_down.weight f16' err.txt || fail "$(cat err.txt)"
"$PHYSARIUM" export donor --scheme q8_0 --gguf encoded.gguf -q 2>/dev/null >/dev/null
cmp stored.gguf encoded.gguf
"$PHYSARIUM" inspect stored.gguf | grep -q 'Q8_0.*"blk.1.ffn_up.weight"' || fail "no Q8_0 tensor"
refused 2 'exists; --force replaces it' export donor --gguf plain.gguf -q
refused 2 'give one of them' export donor --gguf x.gguf --ffn q8 --scheme q8_0
refused 5 'GGUF has no type for vindex_fp' export donor --gguf x.gguf --scheme fp4 -q
cp -r "$PHY_SOURCE/tests/golden/model/tiny-mistral" other
refused 8 'made of another model' export other --ffn q8 --gguf x.gguf -q
[ ! -e x.gguf ] || fail "a refused export left something"
"$PHYSARIUM" quantize donor -o bf --scheme bf16 -q
"$PHYSARIUM" export donor --ffn bf --vindex features -q 2>/dev/null >/dev/null
"$PHYSARIUM" inspect features | grep -q 'scheme vindex, layout by_feature' || fail "a vindex from a store is something else"
refused 5 'scheme q8_0: a vindex holds stores of f32, f16, bf16, q4_k and fp4' export donor --ffn q8 --vindex x -q
refused 2 'an order of Q6_K is of a vindex from a q4_k store' export donor --ffn bf --q6k-order ggml --vindex x -q
refused 2 '--q6k-order takes pairs or ggml' export donor --ffn bf --q6k-order both --vindex x -q
refused 2 'bf: no vindex' inspect bf --q6k-order ggml
refused 2 '--q6k-order is about a vindex' inspect donor --q6k-order ggml
refused 2 '--ffn names one' audit donor --q6k-order ggml
"$PHYSARIUM" inspect features --q6k-order pairs >/dev/null # it has no Q6_K: nothing to say
echo "quantize, inspect and export do what they say"
