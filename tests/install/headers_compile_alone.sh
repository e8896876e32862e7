#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Each public header needs no other before it, as C17 and as C++.
set -euo pipefail

failed=0
compiled=0
for header in "$PHY_SOURCE"/include/physarium/*.h; do
    line="#include \"physarium/${header##*/}\""
    flags=(-Wall -Wextra -Wconversion -Wpedantic -Werror -fsyntax-only -I "$PHY_SOURCE/include")
    # Twice: the second time nothing may be left to declare.
    printf '%s\n%s\n' "$line" "$line" | "$PHY_CC" -std=c17 "${flags[@]}" -x c - || failed=1
    if command -v "$PHY_CXX" >/dev/null; then
        printf '%s\n%s\n' "$line" "$line" | "$PHY_CXX" -std=c++17 "${flags[@]}" -x c++ - || failed=1
    fi
    compiled=$((compiled + 1))
done
echo "$compiled headers"
((compiled > 0 && failed == 0))
