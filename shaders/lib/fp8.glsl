// SPDX-License-Identifier: Apache-2.0
// vindex_fp8: an e4m3 byte times a scale for each 256. lib/unit.glsl says what a format defines.
#include "lib/bytes.glsl"

vec2 unit_scales(uvec4 head, float scale, uint n)
{
    return vec2(scale);
}

// Exact, NaN included. As if the exponent field were never zero, subnormals are 2^-7 (1 + m/8) where m 2^-9 is meant:
// twice that, less 2^-6.
vec4 unit_values(Unit unit, uint side, uint j)
{
    uvec4 code = bytes(unit.codes[side], j), magnitude = code & 0x7Fu;
    precise vec4 normal = uintBitsToFloat((magnitude << 20) + (120u << 23));
    precise vec4 subnormal = normal * 2.0 - 0.015625;
    uvec4 bits = floatBitsToUint(mix(normal, subnormal, lessThan(magnitude, uvec4(8))));
    bits = mix(bits, uvec4(0x7FC00000u), equal(magnitude, uvec4(0x7F)));
    return uintBitsToFloat(bits | (code & 0x80u) << 24);
}
