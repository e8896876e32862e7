# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# Sourced: goes to a directory that is removed with the script, where donor/ is a tiny llama with its tokenizer.
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work" || exit
cp -r "$PHY_SOURCE/tests/golden/model/tiny-llama3" donor
cp "$PHY_SOURCE"/tests/golden/tokenizer/tiny-llama3/* donor/
