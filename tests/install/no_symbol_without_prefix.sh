#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# usage: no_symbol_without_prefix.sh SHARED STATIC NM
# The shared library exports what the public headers declare and nothing else; the static one defines no global symbol
# without the prefix, so that it collides with nobody's.
set -euo pipefail
shared=$1 static=$2 nm=$3

# Sanitizers add symbols of their own.
ours() { grep -vE '^(__asan|__ubsan|__odr_asan|__sanitizer|_ZTI|asan\.)' || true; }

exported=$("$nm" -D --defined-only --format=posix "$shared" | cut -d ' ' -f 1 | ours | sort -u)
declared=$(cat "$PHY_SOURCE"/include/physarium/*.h | tr '\n' ' ' | sed 's/PHY_API/\n&/g' |
    sed -nE 's/^PHY_API [^;(]*[ *](phy_[a-z0-9_]+)\(.*/\1/p' | sort -u)
defined=$("$nm" -g --defined-only --format=posix "$static" | sed -nE 's/^([^ ]+) [A-TV-Zu] .*/\1/p' | ours | sort -u)

status=0
if [[ -z $exported || -z $declared || -z $defined ]]; then
    echo "no symbols found: is this the right nm?"
    exit 1
fi
if stray=$(comm -23 <(echo "$exported") <(echo "$declared")) && [[ -n $stray ]]; then
    echo "exported, but declared in no public header:" "${stray//$'\n'/ }"
    status=1
fi
if stray=$(comm -13 <(echo "$exported") <(echo "$declared")) && [[ -n $stray ]]; then
    echo "declared in a public header, but not exported:" "${stray//$'\n'/ }"
    status=1
fi
if stray=$(grep -v '^phy_' <<<"$defined"); then
    echo "global in the static library without phy_:" "${stray//$'\n'/ }"
    status=1
fi
echo "$(wc -l <<<"$exported") exported, $(wc -l <<<"$defined") global in the static library"
exit "$status"
