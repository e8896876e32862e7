// SPDX-License-Identifier: Apache-2.0
// q8_0: a signed byte times an f16 scale for each 32. lib/unit.glsl says what a format defines.
#include "lib/codes.glsl"

vec2 unit_scales(uvec4 head, float scale, uint n)
{
    return vec2(f16_upper(half_on_top(head, n)));
}

vec4 unit_values(Unit unit, uint side, uint lift)
{
    return signed_top_byte(byte_to_top(unit.codes[side], lift));
}

uvec4 unit_bytes(Unit unit, uint side)
{
    return unit.codes[side];
}
