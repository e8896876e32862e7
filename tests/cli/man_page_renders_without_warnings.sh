#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
set -euo pipefail

command -v man >/dev/null || { echo "no man: skipped"; exit 77; }
if ! text=$(LC_ALL=C.UTF-8 MANWIDTH=80 MANROFFSEQ='' man --warnings -E UTF-8 -l "$PHY_SOURCE/docs/physarium.1" 2>"$PHY_BUILD/man.err"); then
    cat "$PHY_BUILD/man.err"
    exit 1
fi
# A minimal image has a man that only says it has no pages.
if [[ $text == *"has been minimized"* || -z $text ]]; then echo "man renders nothing here: skipped" && exit 77; fi
if [[ -s $PHY_BUILD/man.err ]]; then cat "$PHY_BUILD/man.err" && exit 1; fi
for section in NAME SYNOPSIS COMMANDS "EXIT STATUS" FILES EXAMPLES; do
    grep -q "^$section" <<<"$text" || { echo "no section $section"; exit 1; }
done
version=$("$PHYSARIUM" --version)
grep -q "$version" <<<"$text" || { echo "the page is not of $version"; exit 1; }
