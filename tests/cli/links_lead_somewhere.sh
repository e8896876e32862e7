#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Relative links in the documents name files that exist, and docs/README.md names every page.
set -euo pipefail
cd "$PHY_SOURCE"

status=0
checked=0
for page in README.md NEWS.md docs/*.md; do
    while read -r target; do
        checked=$((checked + 1))
        if [[ ! -e $(dirname "$page")/${target%%#*} ]]; then
            echo "$page: no $target"
            status=1
        fi
    done < <(grep -oE '\]\([^)# ]+[^) ]*\)' "$page" | sed 's/^](//; s/)$//' | grep -vE '^[a-z]+:' || true)
done
for page in docs/*.md docs/*.1; do
    name=${page##*/}
    if [[ $name != README.md ]] && ! grep -q "($name)" docs/README.md; then
        echo "docs/README.md does not name $name"
        status=1
    fi
done
echo "$checked links"
if ((checked == 0)); then status=1; fi
exit "$status"
