// SPDX-License-Identifier: Apache-2.0
// vindex_fp8: an e4m3 byte times a scale for each 256. lib/unit.glsl says what a format defines.
#include "lib/fields.glsl"

vec2 unit_scales(uvec4 head, float scale, uint n)
{
    return vec2(scale);
}

// Exact, NaN included. As if the exponent field were never zero, subnormals are 2^-7 (1 + m/8) where m 2^-9 is meant:
// twice that, less 2^-6. Of any other value the same is no less than the value.
vec4 unit_values(Unit unit, uint side, uint lift)
{
    uvec4 code = byte_to_top(unit.codes[side], lift), magnitude = code & 0x7F000000u;
    precise vec4 normal = uintBitsToFloat(lowered(magnitude, 4) + (120u << 23));
    precise vec4 subnormal = normal * 2.0 - 0.015625;
    uvec4 bits = mix(floatBitsToUint(min(normal, subnormal)), uvec4(0x7FC00000u), equal(magnitude, uvec4(0x7F000000u)));
    return uintBitsToFloat(bits | code & TOP_BIT);
}
