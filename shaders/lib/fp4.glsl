// SPDX-License-Identifier: Apache-2.0
// vindex_fp4: an e2m1 nibble times (sub * block) / 6 for each 32. lib/unit.glsl says what a format defines.
#include "lib/codes.glsl"
#include "lib/e2m1.glsl"

// sub * block / 12: the values here are twice those. A device may round a division as it likes, but not products and
// sums. q = x * (1/12) is off by little more than a rounding; x - 12 q is exact, since x and 8 q, then what is left and 4 q,
// are within a factor of two; and q with a twelfth of it is x / 12 but for 2^-24 of that: rounded once. Ties don't occur: 12
// would have to divide an odd multiple of 3. Products of two e4m3 are far from subnormals; NaN stays NaN, infinity becomes it.
// 8 q and 4 q are sums: glslc makes one product of two by constants, `precise` or not.
float twelfth_of(float x)
{
    const float twelfth = 0.083333335816860198975;
    precise float q = x * twelfth;
    precise float q2 = q + q;
    precise float q4 = q2 + q2;
    precise float left = (x - (q4 + q4)) - q4;
    precise float whole = q + left * twelfth;
    return whole;
}

vec2 unit_scales(uvec4 head, float scale, uint n)
{
    return vec2(twelfth_of(uintBitsToFloat(half_on_top(head, n) & 0xFFFF0000u)));
}

vec4 unit_values(Unit unit, uint side, uint lift)
{
    return e2m1_twice(byte_to_top(unit.codes[0], lift), 4u * side);
}
