#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The program in docs/embedding.md compiles against an installed tree by pkg-config and by CMake, shared and static, and
# each of the four prunes a small checkpoint to the same bytes.
set -euo pipefail

python=${PHY_PYTHON:-python3}
"$python" -c 'import numpy' 2>/dev/null || { echo "needs numpy: skipped"; exit 77; }
command -v pkg-config >/dev/null || { echo "needs pkg-config: skipped"; exit 77; }

work=$PHY_BUILD/tests/embedding
prefix=$work/prefix
rm -rf "$work"
mkdir -p "$work/src"
cd "$work"
"$PHY_CMAKE" --install "$PHY_BUILD" --prefix "$prefix" >install.log

# The block that follows the comment `<!-- NAME -->`.
extract() {
    awk -v mark="<!-- $1 -->" '$0 == mark { found = 1 } found && /^```$/ { exit } inside { print } found && /^```./ { inside = 1 }' \
        "$PHY_SOURCE/docs/embedding.md" >"src/$1"
    [[ -s src/$1 ]] || { echo "docs/embedding.md has no $1"; exit 1; }
}
extract embed.c
extract CMakeLists.txt

flags=()
if [[ $PHY_SANITIZE == ON ]]; then flags=('-fsanitize=address,undefined'); fi
pc_dir=$(dirname "$(find "$prefix" -name physarium.pc)")
export PKG_CONFIG_PATH=$pc_dir
library_dir=$(dirname "$pc_dir")
[[ $(pkg-config --modversion physarium) == $("$PHYSARIUM" --version | cut -d ' ' -f 2) ]]

read -ra cflags <<<"$(pkg-config --cflags physarium)"
read -ra libs <<<"$(pkg-config --libs physarium)"
read -ra static_libs <<<"$(pkg-config --static --libs physarium)"
warnings=(-std=c17 -Wall -Wextra -Wconversion -Wpedantic -Werror)
"$PHY_CC" "${flags[@]}" "${warnings[@]}" src/embed.c -o pc-shared "${cflags[@]}" "${libs[@]}"
"$PHY_CC" "${flags[@]}" "${warnings[@]}" src/embed.c -o pc-static "${cflags[@]}" \
    "${static_libs[@]/#-lphysarium/$library_dir/libphysarium.a}"

for kind in shared static; do
    static=OFF
    if [[ $kind == static ]]; then static=ON; fi
    "$PHY_CMAKE" -S src -B "cmake-$kind.build" -DCMAKE_PREFIX_PATH="$prefix" -DPHYSARIUM_STATIC="$static" \
        -DCMAKE_C_COMPILER="$PHY_CC" -DCMAKE_C_FLAGS="${flags[*]}" >configure.log 2>&1 || { cat configure.log; exit 1; }
    "$PHY_CMAKE" --build "cmake-$kind.build" >build.log 2>&1 || { cat build.log; exit 1; }
    cp "cmake-$kind.build/embed" "cmake-$kind"
done

"$python" "$PHY_SOURCE/tools/make-checkpoint" --like tiny --quiet -o donor
for program in pc-shared pc-static cmake-shared cmake-static; do
    needs=$(LD_LIBRARY_PATH=$library_dir ldd "$program" | grep -c 'libphysarium\.so\.0 ' || true)
    case $program in
    *-shared) [[ $needs == 1 ]] || { echo "$program does not use libphysarium.so.0"; exit 1; } ;;
    *-static) [[ $needs == 0 ]] || { echo "$program uses the shared library"; exit 1; } ;;
    esac
    LD_LIBRARY_PATH=$library_dir "./$program" donor "out-$program" >"$program.out"
    (cd "out-$program" && sha256sum ./*.safetensors) >"$program.sha256"
    cmp pc-shared.sha256 "$program.sha256"
done
grep -q 'model.layers.1.mlp.down_proj.weight' pc-shared.out
tail -n 1 pc-shared.out
# A failure reaches the caller as a line and a status.
status=0
LD_LIBRARY_PATH=$library_dir ./pc-shared absent out-absent 2>absent.err || status=$?
[[ $status == 3 ]] && grep -q '^error: ' absent.err
rm -rf donor out-*
