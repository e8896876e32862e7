#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# `physarium CMD --help` is what there is: the man page's section of each command, the bash completion (run, not read)
# and the zsh completion have exactly those options, and the man page and both completions those commands.
set -euo pipefail

status=0
complain() {
    echo "$*"
    status=1
}
flat() { tr '\n' ' ' <<<"$1" | sed 's/ $//'; }

# differ WHAT FOUND EXPECTED: one word a line each.
differ() {
    local lacks has
    lacks=$(comm -13 <(sort -u <<<"$2") <(sort -u <<<"$3"))
    has=$(comm -23 <(sort -u <<<"$2") <(sort -u <<<"$3"))
    [[ -z $lacks ]] || complain "$1 lacks $(flat "$lacks")"
    [[ -z $has ]] || complain "$1 has $(flat "$has"), which does not exist"
}

long_options() { grep -oE -- '(^|[^-[:alnum:]])--[a-z][a-z0-9-]+' | grep -oE -- '--[a-z0-9-]+' | sort -u; }

man_page=$(sed 's/\\-/-/g; s/\\f[A-Z]//g' "$PHY_SOURCE/docs/physarium.1")
man_section() { awk -v begin="^\\\\.SS $1" '$0 ~ begin { inside = 1; next } /^\.S[SH]/ { inside = 0 } inside' <<<"$man_page"; }
zsh_file=$PHY_SOURCE/tools/completion/_physarium
# A command's branch of the zsh completion, with the shared options that it names.
zsh_options() {
    local branch
    branch=$(awk -v begin="^    $1\\\\)$" '$0 ~ begin { inside = 1 } /^        ;;/ { inside = 0 } inside' "$zsh_file")
    {
        echo "$branch"
        local array
        for array in common targets runner ffn texts; do
            if grep -q "\$$array" <<<"$branch"; then awk -v begin="^    $array=\\\\($" '$0 ~ begin { i = 1 } /^    \)/ { i = 0 } i' "$zsh_file"; fi
        done
    } | grep -oE -- '--[a-z][a-z0-9-]+' | sort -u
}

# shellcheck source=/dev/null
source "$PHY_SOURCE/tools/completion/physarium.bash"
bash_replies() {
    COMP_WORDS=(physarium "$@")
    COMP_CWORD=$#
    _physarium
    printf '%s\n' "${COMPREPLY[@]}"
}

commands=$("$PHYSARIUM" --help | sed -nE 's/^  ([a-z]+) .*/\1/p')
[[ -n $commands ]] || { echo "physarium --help lists no command"; exit 1; }
differ "the bash completion" "$(bash_replies '' | grep -v '^-')" "$commands"
differ "the zsh completion" "$(sed -nE 's/^ +('"'"'1:command:\(\()?([a-z]+)\\:".*/\2/p' "$zsh_file")" "$commands"
differ "the man page" "$(sed -nE 's/^\.SS physarium ([a-z]+).*/\1/p' <<<"$man_page")" "$commands"

common=$(man_section 'Options of every command' | long_options | grep -v -- --version)
for command in $commands; do
    # A line that begins with options describes them; elsewhere they are only spoken of.
    help=$("$PHYSARIUM" "$command" --help | grep -oE '^ +(-[a-z], )?--[a-z0-9-]+( [A-Z-]+)?(  --[a-z0-9-]+( [A-Z-]+)?)*' | long_options)
    everywhere=$(sort -u <<<"$help"$'\n'"$common")
    differ "physarium $command --help" "$help"$'\n'--help "$everywhere"
    differ "the man page's section of $command" "$(man_section "physarium $command" | long_options | sort -u - <(echo "$common"))" "$everywhere"
    differ "the bash completion of $command" "$(bash_replies "$command" --)" "$everywhere"
    differ "the zsh completion of $command" "$(zsh_options "$command")" "$everywhere"
done
# Values are completed, too, and words that take none are not guessed.
[[ $(flat "$(bash_replies surgery --block '')") == "32 64 128 256" ]] || complain "bash: --block has no values"
[[ $(flat "$(bash_replies surgery --block = 6)") == 64 ]] || complain "bash: --block=6 is not completed"
PATH=$(dirname "$PHYSARIUM"):$PATH
[[ $(flat "$(bash_replies surgery --device cpu : r)") == ref ]] || complain "bash: --device cpu:r is not completed"
if command -v zsh >/dev/null; then zsh -n "$zsh_file" || status=1; fi
echo "$(wc -w <<<"$commands") commands"
exit "$status"
