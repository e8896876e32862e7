// SPDX-License-Identifier: Apache-2.0
// mxfp4: an e2m1 nibble times a power of two for each 32. lib/unit.glsl says what a format defines.
#include "lib/e2m1.glsl"

// 2^(e - 128): the values here are twice those. e = 0 and 1 are float32 subnormals, which a device may flush.
vec2 unit_scales(uvec4 head, float scale, uint n)
{
    uint e = head[n >> 2] >> 8u * (n & 3u) & 0xFFu;
    return vec2(uintBitsToFloat(e < 2u ? e + 1u << 21 : e - 1u << 23));
}

vec4 unit_values(Unit unit, uint side, uint j)
{
    return e2m1_twice(unit.codes[0], 8u * j + 4u * side);
}
