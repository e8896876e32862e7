#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# bench/surgery runs, counts the donor's weights as surgery does, and leaves nothing behind.
set -euo pipefail

python=${PHY_PYTHON:-python3}
"$python" -c 'import numpy' 2>/dev/null || { echo "needs numpy: skipped"; exit 77; }
work=$PHY_BUILD/tests/bench-surgery
rm -rf "$work"
mkdir -p "$work"
cd "$work"
"$python" "$PHY_SOURCE/tools/make-checkpoint" --like tiny --quiet -o donor
# Warm only: a test must not throw away the machine's page cache.
"$python" "$PHY_SOURCE/bench/surgery" donor --program "$PHYSARIUM" --rounds 1 --cache warm --json -- --threads 1 >report.json
"$python" - <<'TEXT'
import json
report = json.load(open("report.json"))
assert report["donor"]["weights"] == 1773120, report["donor"]
assert report["donor"]["target_weights"] == 1643520, report["donor"]
(case,) = report["cases"]
median = case["median"]
assert median["cp_seconds"] > 0 and median["surgery_seconds"] > 0 and median["peak_rss_bytes"] > 1 << 20, median
assert abs(median["melem_per_second"] * median["surgery_seconds"] * 1e6 - 1643520) < 1, median
TEXT
[[ $(ls -A) == $'donor\nreport.json' ]] || { echo "left behind:" && ls -A && exit 1; }
cd /
rm -rf "$work"
