#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# exact_spirv.sh FROM TO: the SPIR-V module FROM with NoContraction on every floating-point addition, subtraction,
# multiplication and division. glslc keeps it, which `precise` asks for, on only one copy of what it unrolls; without it a
# driver may take (a + b) - a for b, and sums that keep what their additions lose would keep nothing.
set -euo pipefail
spirv-dis --raw-id --no-header "$1" | awk '
    { line[NR] = $0 }
    $1 == "OpDecorate" { last = NR }
    $1 == "OpDecorate" && $3 == "NoContraction" { exact[$2] = 1 }
    $3 ~ /^OpF(Add|Sub|Mul|Div)$/ && !exact[$1] { more = more "OpDecorate " $1 " NoContraction\n" }
    END { for (i = 1; i <= NR; i++) printf "%s\n%s", line[i], i == last ? more : "" }' |
    spirv-as --preserve-numeric-ids --target-env spv1.3 - -o "$2"
