# SPDX-License-Identifier: Apache-2.0
# Bash completion for physarium. shellcheck shell=bash

_physarium() {
    local current=${COMP_WORDS[COMP_CWORD]} previous='' command='' word
    ((COMP_CWORD > 0)) && previous=${COMP_WORDS[COMP_CWORD - 1]}
    COMPREPLY=()

    # Bash takes --option=value apart at the equals sign.
    if [[ $current == '=' ]]; then
        current=''
    elif [[ $previous == '=' ]] && ((COMP_CWORD > 1)); then
        previous=${COMP_WORDS[COMP_CWORD - 2]}
    fi

    for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
        if [[ $word != -* ]]; then
            command=$word
            break
        fi
    done

    local common='--json --quiet --help'
    local targets='--include --exclude --layers'
    local options=''
    case $command in
    '') options='--help --version inspect import surgery coverage devices' ;;
    inspect) options="--follow-symlinks $common" ;;
    import) options="--output --force $common" ;;
    surgery)
        options="--output --device --threads --memory --gain --beta --iterations --block --sparsity --calibration"
        options+=" $targets --resume --force --follow-symlinks $common"
        ;;
    coverage) options="--recompute --device $common" ;;
    devices) options=$common ;;
    esac

    case $previous in
    --device)
        local names='cpu vulkan all'
        if type -P physarium >/dev/null; then
            names+=" $(physarium devices --json 2>/dev/null | grep -oE '"name": *"[^"]*"' | cut -d '"' -f 4 | tr '\n' ' ')"
        fi
        # A colon is a word break, too: only what follows it is replaced.
        if [[ $current == : ]]; then current=''; fi
        mapfile -t COMPREPLY < <(compgen -W "$names" -- "$current")
        if declare -F __ltrim_colon_completions >/dev/null; then __ltrim_colon_completions "$current"; fi
        return
        ;;
    --block) mapfile -t COMPREPLY < <(compgen -W '32 64 128 256' -- "$current") && return ;;
    --beta) mapfile -t COMPREPLY < <(compgen -W '1 2 3 4' -- "$current") && return ;;
    --threads | --memory | --gain | --iterations | --sparsity | --include | --exclude | --layers) return ;;
    -o | --output | --calibration)
        mapfile -t COMPREPLY < <(compgen -f -- "$current")
        return
        ;;
    esac

    if [[ $current == -* || -z $command ]]; then
        mapfile -t COMPREPLY < <(compgen -W "$options" -- "$current")
    else
        mapfile -t COMPREPLY < <(compgen -f -- "$current")
    fi
}
complete -o filenames -F _physarium physarium
