#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Every tracked shell script is clean, has the licence line, and stops at the first failure.
set -euo pipefail
cd "$PHY_SOURCE"

command -v shellcheck >/dev/null || { echo "no shellcheck: skipped"; exit 77; }
git rev-parse --git-dir >/dev/null 2>&1 || { echo "not a git work tree: skipped"; exit 77; }
mapfile -t scripts < <(git ls-files -z | xargs -0 grep -lE -m 1 '^#!.*\b(ba)?sh\b' --)
for script in "${scripts[@]}"; do
    if ! grep -q '^set -euo pipefail$' "$script"; then echo "$script: no 'set -euo pipefail'" && exit 1; fi
    if ! grep -q 'SPDX-License-Identifier: Apache-2.0' "$script"; then echo "$script: no licence line" && exit 1; fi
done
shellcheck -x "${scripts[@]}"
echo "${#scripts[@]} scripts"
