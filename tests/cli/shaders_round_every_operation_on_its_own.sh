#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# In the shaders of surgery, which give the same bits everywhere, every floating-point addition, subtraction and
# multiplication carries NoContraction, and there is no division and no fused multiply-add. The products of the model runner have
# a tolerance instead. No shader needs a type or a capability that a Vulkan 1.1 device need not have;
# int8dot_*, *_subgroup, *_eights and *_texels have plain siblings, and roofline_{f16,i8} only measure what there is.
set -euo pipefail
command -v spirv-dis >/dev/null || { echo 'SKIPPED: no spirv-dis'; exit 77; }
failures=0
for module in "$PHY_BUILD"/src/vk/*.spv; do
    case ${module##*/} in
    flow_tile*.spv | rank_rows.spv | self_test.spv) exact=1 ;;
    *) exact=0 ;;
    esac
    may='Shader'
    case ${module##*/} in
    *_eights.spv | *_texels.spv)
        [ -e "${module%_*}.spv" ] || { echo "${module##*/}: has no plain sibling"; failures=1; }
        may='Shader SampledBuffer'
        ;;
    esac
    case ${module##*/} in
    *_eights.spv | int8dot_* | *_subgroup.spv | roofline_f16.spv | roofline_i8.spv) continue ;;
    esac
    spirv-dis --raw-id "$module" | awk -v module="${module##*/}" -v must="$exact" -v may=" $may " '
        $1 == "OpDecorate" && $3 == "NoContraction" { exact[$2] = 1 }
        $3 ~ /^OpF(Add|Sub|Mul)$/ { seen++; if (must && !exact[$1]) { print module ": " $0 " may be contracted"; bad = 1 } }
        must && ($3 ~ /^OpF(Div|Mod|Rem)$/ || $3 == "OpDot") { print module ": " $0 " has no exact result"; bad = 1 }
        must && $3 == "OpExtInst" && /Fma|Sqrt|Exp|Log|Pow|Ldexp/ { print module ": " $0 " has no exact result"; bad = 1 }
        $1 == "OpCapability" && !index(may, " " $2 " ") { print module ": needs " $2; bad = 1 }
        ($3 == "OpTypeFloat" || $3 == "OpTypeInt") && $4 != 32 { print module ": " $0; bad = 1 }
        END { if (must && !seen) print module ": no arithmetic found"; exit bad || (must && !seen) }' || failures=1
done
exit "$failures"
