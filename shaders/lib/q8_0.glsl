// SPDX-License-Identifier: Apache-2.0
// q8_0: a signed byte times an f16 scale for each 32. lib/unit.glsl says what a format defines.
#include "lib/bytes.glsl"
#include "lib/codes.glsl"

vec2 unit_scales(uvec4 head, float scale, uint n)
{
    return vec2(f16_value(head[n >> 1] >> (n & 1u) * 16u & 0xFFFFu));
}

ivec4 unit_integers(Unit unit, uint side, uint j)
{
    return signed_bytes(unit.codes[side], j);
}

uvec4 unit_bytes(Unit unit, uint side)
{
    return unit.codes[side];
}
