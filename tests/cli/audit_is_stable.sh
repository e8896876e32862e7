#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# On a tiny model: two runs give the same JSON but for times, files hold no paths, a bound that is too tight is exit code 8 with
# all files written, --budget and --against and compare do what they say, and usage errors are 2.
set -euo pipefail
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
cd "$scratch"
mkdir model
cp "$PHY_SOURCE"/tests/golden/model/tiny-gemma3/{config.json,model.safetensors} "$PHY_SOURCE"/tests/golden/tokenizer/tiny-gemma3/tokenizer.json model/

fail() {
    echo "$*"
    exit 1
}
expect_code() {
    local expected=$1 code=0
    shift
    "$@" >out 2>err || code=$?
    [[ $code == "$expected" ]] || { cat out err; fail "exit code $code, not $expected: $*"; }
}
audit() { "$PHYSARIUM" audit "$@" -q --threads 2; }
without_times() { sed '/"times":/,$d' "$1"; }

expect_code 0 audit model --device cpu -o one --junit one.xml --no-bounds
expect_code 0 audit model --device cpu -o two --no-bounds
diff <(without_times one/audit.json) <(without_times two/audit.json) || fail "two runs differ"
grep -q '"dispatch"' one/audit.json || fail "no dispatch in audit.json"
if grep -rl -e "$scratch" -e "$HOME" -e "$(hostname)" one one.xml; then fail "a path or a host's name in these files"; fi
grep -q '<testcase classname="physarium.audit.cpu:[a-z0-9]*" name="full_mmap (donor) on' one.xml || fail "JUnit lacks a test"
if grep -Eq '(src|href)=|<script|@import|url\(' one/audit.html; then fail "audit.html fetches something"; fi

# A bound below the noise of float32.
cat >bounds.json <<'END'
{"schema_version": 1, "bounds": [{"bucket": "exact", "cos": 0.99999, "rel_l2": 1e-12, "anchor_dp": 0.1,
 "decoded": {"cos": 0.99999, "rel_l2": 1e-12}}]}
END
expect_code 8 audit model --device cpu --bounds bounds.json -o failed --junit failed.xml
grep -q 'rel L2 .* (at most 1.000e-12)' out || fail "the table does not say what failed"
[[ -s failed/audit.html && -s failed/audit.md ]] || fail "files of a failed audit are missing"
grep -q '"verdict":[[:space:]]*"fail"' failed/audit.json || fail "audit.json passes"
grep -q '<failure message=' failed.xml || fail "JUnit passes"

# Locking tightens, and only --loosen takes it back.
expect_code 0 audit model --device cpu --lock locked
expect_code 0 audit model --device cpu --lock locked
cp locked/bounds.json before.json
[[ -s locked/model/audit.json && $(grep -c '^| 20' locked/INDEX.md) == 4 ]] || fail "INDEX.md has no row for each run and bucket"
sed -i 's/"rel_l2":[0-9.e-]*/"rel_l2":1e-12/g' locked/bounds.json
expect_code 8 audit model --device cpu --lock locked
grep -q loosen err || fail "no word of --loosen"
expect_code 8 audit model --device cpu --lock locked --loosen "a test made them too tight"
grep -q 'a test made them too tight' locked/bounds.json || fail "the reason was not kept"
expect_code 0 audit model --device cpu --bounds locked/bounds.json

expect_code 0 audit model --device cpu --budget 1 --json --no-bounds
grep -q '"estimated_seconds"' out || fail "the budget is not recorded"
cp -r model pruned
expect_code 0 audit model --against pruned --device cpu -o against --no-bounds
grep -q '"verdict":[[:space:]]*"measured"' against/audit.json || fail "surgery is not measured"
grep -q '"max_rel_l2":[[:space:]]*0,' against/audit.json || fail "a copy differs from its original"

expect_code 0 "$PHYSARIUM" audit compare one/audit.json two/audit.json two/audit.json --html compare.html
grep -q '=A' out || fail "equal bits are not marked"
expect_code 8 "$PHYSARIUM" audit compare one/audit.json failed/audit.json
grep -q DIFFERS out || fail "compare does not say what differs"
expect_code 2 "$PHYSARIUM" audit compare one/audit.json against/audit.json
expect_code 2 "$PHYSARIUM" audit compare one/audit.json
expect_code 0 "$PHYSARIUM" audit show one/audit.json --worst 3
[[ $(wc -l <out) == 4 ]] || fail "show printed $(wc -l <out) lines"
expect_code 4 "$PHYSARIUM" audit show bounds.json
expect_code 3 "$PHYSARIUM" audit show absent.json
expect_code 2 audit model --paths nonsense

# Prompts come from a file, a pipe or standard input.
printf 'hers\tthe cat sat\n' >prompts
expect_code 0 audit model --device cpu --paths exact --no-bounds --prompts prompts -o from_file
expect_code 0 audit model --device cpu --paths exact --no-bounds --prompts <(cat prompts) -o from_pipe
expect_code 0 audit model --device cpu --paths exact --no-bounds --prompts - -o from_input <prompts
grep -q '"hers"' from_file/audit.json || fail "the prompt is not in the report"
for from in pipe input; do diff <(without_times from_file/audit.json) <(without_times "from_$from/audit.json") || fail "$from"; done
expect_code 2 audit model --device cpu --prompts /dev/null
grep -q "no prompt in it" err || fail "not said of an empty file"
expect_code 3 audit model --device cpu --prompts /dev/zero
expect_code 2 audit model --device cpu:nonsense
expect_code 2 audit model --loosen "without a lock"
expect_code 2 audit
