// SPDX-License-Identifier: Apache-2.0
// f32, f16 and bf16: a value is its code; a 16-bit word holds two, low half first. lib/unit.glsl says what a format
// defines.
#include "lib/codes.glsl"

vec2 unit_scales(uvec4 head, float scale, uint n)
{
    return vec2(1);
}

vec4 unit_values(Unit unit, uint side, uint j)
{
    if (TYPE == PHY_LAYOUT_F32)
        return uintBitsToFloat(unit.codes[4u * side + j]);
    uvec4 words = unit.codes[2u * side + (j >> 1)];
    uvec2 two = (j & 1u) == 0u ? words.xy : words.zw;
    if (TYPE == PHY_LAYOUT_F16)
        return vec4(f16_value(two.x & 0xFFFFu), f16_value(two.x >> 16), f16_value(two.y & 0xFFFFu),
                    f16_value(two.y >> 16));
    return uintBitsToFloat(uvec4(two.x << 16, two.x & 0xFFFF0000u, two.y << 16, two.y & 0xFFFF0000u));
}
