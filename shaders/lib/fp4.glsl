// SPDX-License-Identifier: Apache-2.0
// vindex_fp4: an e2m1 nibble times (sub * block) / 6 for each 32. lib/unit.glsl says what a format defines.
#include "lib/codes.glsl"
#include "lib/e2m1.glsl"

// sub * block / 12: the values here are twice those. A device may round a division as it likes, but not products and
// sums. q = x * (1/6) is off by little more than a rounding; x - 6 q is exact, since x / 4 and q, then what is left and
// 2 q, are within a factor of two; and q with a sixth of it is x / 6 but for 2^-24 of that: rounded once. Ties don't occur: 6
// would have to divide an odd multiple of 3. Products of two e4m3 are far from subnormals; NaN stays NaN, infinity becomes it.
float sixth_of_half(float x)
{
    const float sixth = 0.16666667163372039795;
    precise float q = x * sixth;
    precise float left = (x - 4.0 * q) - 2.0 * q;
    precise float whole = q + left * sixth;
    return whole * 0.5;
}

vec2 unit_scales(uvec4 head, float scale, uint n)
{
    return vec2(sixth_of_half(uintBitsToFloat(half_on_top(head, n) & 0xFFFF0000u)));
}

vec4 unit_values(Unit unit, uint side, uint lift)
{
    return e2m1_twice(byte_to_top(unit.codes[0], lift), 4u * side);
}
