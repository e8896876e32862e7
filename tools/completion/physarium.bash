# SPDX-License-Identifier: Apache-2.0
# Bash completion for physarium. shellcheck shell=bash

_physarium() {
    local current=${COMP_WORDS[COMP_CWORD]} previous='' command='' word
    local at=$((COMP_CWORD - 1))
    COMPREPLY=()

    # Bash breaks words at = and at the : of device names: put the pieces together again.
    while ((at > 0)) && [[ $current == [:=]* || ${COMP_WORDS[at]} == [:=] ]]; do
        current=${COMP_WORDS[at]}$current
        at=$((at - 1))
    done
    previous=${COMP_WORDS[at]}
    if [[ $current == --*=* ]]; then
        previous=${current%%=*}
        current=${current#*=}
    fi

    for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
        if [[ $word != -* ]]; then
            command=$word
            break
        fi
    done

    local common='--json --quiet --help'
    local targets='--include --exclude --layers'
    local ffn='--ffn --path --features --device-memory --activations --fallback --no-tune --trust --q6k-order'
    local options=''
    case $command in
    '') options='--help --version inspect import surgery coverage devices tokenize generate eval calibrate logits quantize export audit bench' ;;
    inspect) options="--follow-symlinks --trust --q6k-order $common" ;;
    import) options="--output --shard-bytes --force $common" ;;
    surgery)
        options="--output --device --threads --memory --method --pattern --eval --gain --beta --iterations --block --sparsity --calibration"
        options+=" $targets --resume --force --follow-symlinks $common"
        ;;
    coverage)
        options="--recompute --device --threads --method --sparsity --pattern --gain --beta --iterations --block --calibration"
        options+=" $targets --follow-symlinks $common"
        ;;
    devices) options=$common ;;
    tokenize) options="--prompt --file --decode --no-special --special-as-text $common" ;;
    generate)
        options="--prompt --count --temperature --top-k --top-p --seed --no-special --ignore-eos --device --threads $ffn $common"
        ;;
    eval) options="--text --ids --baseline --ctx --stride --html --device --threads $ffn $common" ;;
    calibrate) options="--text --ids --output --alpha --ctx --device --threads $common" ;;
    audit)
        options="--all --ffn --q6k-order --paths --device --against --prompts --budget --cache --bounds --no-bounds --oracle --no-oracle"
        options+=" --output --html --junit --lock --loosen --worst --threads $common"
        ;;
    bench)
        options="--device --format --shape --rows --top-k --sparsity --threads --cold --warm --quick --budget --timeout --peer --scratch"
        options+=" --threshold --output --csv --markdown --html --junit $common"
        ;;
    logits) options="--ids --output --device --threads $ffn $common" ;;
    quantize) options="--output --scheme --layout --layers --threads --resume --force $common" ;;
    export) options="--gguf --vindex --ffn --scheme --q6k-order --threads --trust --force $common" ;;
    esac

    case $previous in
    --device)
        local names='cpu vulkan'
        [[ $command == surgery || $command == coverage || $command == audit || $command == bench ]] && names+=' all'
        if type -P physarium >/dev/null; then
            names+=" $(physarium devices --json 2>/dev/null | grep -oE '"name":[[:space:]]*"[^"]*"' | cut -d '"' -f 4 | tr '\n' ' ')"
        fi
        mapfile -t COMPREPLY < <(compgen -W "$names" -- "$current")
        # Only what follows the last break is replaced.
        if [[ $current == *:* && $COMP_WORDBREAKS == *:* ]]; then
            COMPREPLY=("${COMPREPLY[@]#"${current%"${current##*:}"}"}")
        fi
        return
        ;;
    --format) mapfile -t COMPREPLY < <(compgen -W 'all bf16 f16 f32 q8_0 q4_0 q4_k q6_k fp8 fp4 mxfp4' -- "$current") && return ;;
    --block) mapfile -t COMPREPLY < <(compgen -W '32 64 128 256' -- "$current") && return ;;
    --path)
        mapfile -t COMPREPLY < <(compgen -W 'exact full_mmap full_mmap:bf16 interleaved sparse interleaved_q8_0 interleaved_q6_K interleaved_q4_0
            interleaved_q4k:dequant interleaved_q4k:fused interleaved_q4k:int8 fp8_storage fp4_storage:sparse mxfp4_storage bitmap' -- "$current")
        if [[ $current == *:* && $COMP_WORDBREAKS == *:* ]]; then
            COMPREPLY=("${COMPREPLY[@]#"${current%"${current##*:}"}"}")
        fi
        return
        ;;
    --q6k-order) mapfile -t COMPREPLY < <(compgen -W 'pairs ggml' -- "$current") && return ;;
    --activations) mapfile -t COMPREPLY < <(compgen -W 'f32 bf16' -- "$current") && return ;;
    --fallback) mapfile -t COMPREPLY < <(compgen -W cpu -- "$current") && return ;;
    --method) mapfile -t COMPREPLY < <(compgen -W 'flow magnitude wanda ria' -- "$current") && return ;;
    --scheme) mapfile -t COMPREPLY < <(compgen -W 'f32 f16 bf16 q8_0 q4_0 q4_k q6_k fp8 fp4 fp4_all mxfp4 bitmap' -- "$current") && return ;;
    --layout) mapfile -t COMPREPLY < <(compgen -W 'split interleaved by_feature' -- "$current") && return ;;
    --beta) mapfile -t COMPREPLY < <(compgen -W '1 2 3 4' -- "$current") && return ;;
    --threads | --memory | --shard-bytes | --gain | --iterations | --sparsity | --include | --exclude | --layers | -p | --prompt | --decode | \
        -n | --count | --temperature | --top-k | --top-p | --seed | --ctx | --stride | --alpha | --pattern | --features | --device-memory | \
        --paths | --budget | --loosen | --worst | --shape | --rows | --timeout | --threshold) return ;;
    -o | --output | --calibration | -f | --file | --text | --ids | --baseline | --html | --eval | --gguf | --vindex | --ffn | --against | --prompts | --cache | --bounds | --oracle | --junit | --lock | \
        --peer | --scratch | --csv | --markdown)
        mapfile -t COMPREPLY < <(compgen -f -- "$current")
        return
        ;;
    esac

    if [[ $command == bench && $previous == bench && $current != -* ]]; then
        mapfile -t COMPREPLY < <(compgen -W 'flow ffn matmul copy surgery generate scaling compare' -- "$current")
        return
    fi
    if [[ $current == -* || -z $command ]]; then
        mapfile -t COMPREPLY < <(compgen -W "$options" -- "$current")
    else
        mapfile -t COMPREPLY < <(compgen -f -- "$current")
    fi
}
complete -o filenames -F _physarium physarium
