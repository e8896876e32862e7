// SPDX-License-Identifier: Apache-2.0
// mxfp4: an e2m1 nibble times a power of two for each 32. lib/unit.glsl says what a format defines.
#include "lib/e2m1.glsl"

// 2^(e - 128): the values here are twice those. e = 0 and 1 are float32 subnormals, which a device may flush. With e on
// top, e - 128 is a signed byte.
vec2 unit_scales(uvec4 head, float scale, uint n)
{
    uint e = lifted(head[n >> 2], 24u - 8u * (n & 3u)) & 0xFF000000u;
    uint bits = uint(int(float(int(e ^ TOP_BIT)) * 0.5)) + (127u << 23);
    bits = mix(bits, 2u << 21, e == 1u << 24);
    return vec2(uintBitsToFloat(mix(bits, 1u << 21, e == 0u)));
}

vec4 unit_values(Unit unit, uint side, uint lift)
{
    return e2m1_twice(byte_to_top(unit.codes[0], lift), 4u * side);
}
