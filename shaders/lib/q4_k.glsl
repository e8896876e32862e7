// SPDX-License-Identifier: Apache-2.0
// q4_K: a nibble times d * s less dmin * m, s and m of six bits for each 32. lib/unit.glsl says what a format defines.
#include "lib/codes.glsl"

// Of the head d stays, as the scale, and dmin in the place of both.
void open_head(inout uvec4 head, inout float scale)
{
    vec2 two = f16_values(head.x);
    scale = two.x;
    head.x = floatBitsToUint(two.y);
}

// Both products are exact: 11 and 6 significant bits.
vec2 unit_scales(uvec4 head, float scale, uint n)
{
    uvec4 at = lifted(head, 28u - 4u * n);
    vec4 low = field(at, 4, 4), high = field(at, 4, 2);
    return vec2(scale * (high.w * 16.0 + low.y));
}

float unit_minimum(uvec4 head, uint n)
{
    uvec4 at = lifted(head, 28u - 4u * n);
    vec4 low = field(at, 4, 4), high = field(at, 6, 2);
    return uintBitsToFloat(head.x) * (high.w * 16.0 + low.z);
}

vec4 unit_values(Unit unit, uint side, uint lift)
{
    return field(byte_to_top(unit.codes[0], lift), 4u * side, 4);
}

uvec4 unit_bytes(Unit unit, uint side)
{
    return unit.codes[0] >> 4u * side & 0x0F0F0F0Fu;
}
