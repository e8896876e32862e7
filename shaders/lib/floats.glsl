// SPDX-License-Identifier: Apache-2.0
// f32, f16 and bf16: a value is its code; a 16-bit word holds two, low half first. lib/unit.glsl says what a format
// defines.
#include "lib/codes.glsl"

vec2 unit_scales(uvec4 head, float scale, uint n)
{
    return vec2(1);
}

// Column 16 side + 4j + c, as of blocks; what brings group j to the top tells which it is.
vec4 unit_group(Unit unit, uint side, uint j)
{
    if (TYPE == PHY_LAYOUT_F32)
        return uintBitsToFloat(unit.codes[4u * side + j]);
    uvec4 words = unit.codes[2u * side + (j >> 1)];
    uvec2 two = (j & 1u) == 0u ? words.xy : words.zw;
    return TYPE == PHY_LAYOUT_F16 ? vec4(f16_values(two.x), f16_values(two.y))
                                  : vec4(bf16_values(two.x), bf16_values(two.y));
}
