// SPDX-License-Identifier: Apache-2.0
// q4_K: a nibble times d * s less dmin * m, s and m of six bits for each 32. lib/unit.glsl says what a format defines.
#include "lib/codes.glsl"

// Both products are exact: 11 and 6 significant bits.
vec2 unit_scales(uvec4 head, float scale, uint n)
{
    uvec4 at = head >> 4u * n;
    return vec2(f16_value(head.x & 0xFFFFu) * float(int(at.y & 15u | (at.w & 3u) << 4)));
}

float unit_minimum(uvec4 head, uint n)
{
    uvec4 at = head >> 4u * n;
    return f16_value(head.x >> 16) * float(int(at.z & 15u | (at.w & 12u) << 2));
}

ivec4 unit_integers(Unit unit, uint side, uint j)
{
    return ivec4(unit.codes[0] >> 8u * j + 4u * side & 15u);
}

uvec4 unit_bytes(Unit unit, uint side)
{
    return unit.codes[0] >> 4u * side & 0x0F0F0F0Fu;
}
