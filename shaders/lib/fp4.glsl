// SPDX-License-Identifier: Apache-2.0
// vindex_fp4: an e2m1 nibble times (sub * block) / 6 for each 32. lib/unit.glsl says what a format defines.
#include "lib/e2m1.glsl"

// sub * block / 12: the values here are twice those. A device may round a division as it likes, but not one of
// integers: with the significand M = 128..255 of sub * block, M / 6 has 5 or 6 bits before the point, and 24 in all
// after a shift by 19 or 18. Ties don't occur: 6 would have to divide an odd multiple of 3. (x + 3) / 6 in parts:
// with M = 6 whole + rest, rest 2^19 / 6 is 87381 rest + 2 rest / 6, and rest 2^18 / 6 is 43690 rest + 4 rest / 6;
// 171 / 1024 and 43 / 256 stand for a sixth of numbers below 256 and 24.
float sixth_of_half(uint bf16)
{
    uint significand = bf16 & 0x7Fu | 0x80u, exponent = bf16 >> 7 & 0xFFu;
    uint whole = significand * 171u >> 10, rest = significand - whole * 6u;
    uint wide = (whole << 19) + rest * 87381u + ((rest * 2u + 3u) * 43u >> 8);
    uint narrow = (whole << 18) + rest * 43690u + ((rest * 4u + 3u) * 43u >> 8);
    bool small = significand < 192u;
    uint shift = small ? 19u : 18u;
    float sixth = float(int(small ? wide : narrow)); // below 2^24: exact
    // M 2^(exponent - 134) = bf16; the power of two is normal for every product of two e4m3 but zero and NaN
    precise float value = sixth * uintBitsToFloat(exponent + 127u - 134u - shift - 1u << 23);
    return exponent == 0u ? 0.0 : exponent == 0xFFu ? uintBitsToFloat(0x7FC00000u) : (bf16 & 0x8000u) != 0u ? -value : value;
}

vec2 unit_scales(uvec4 head, float scale, uint n)
{
    return vec2(sixth_of_half(head[n >> 1] >> (n & 1u) * 16u & 0xFFFFu));
}

vec4 unit_values(Unit unit, uint side, uint j)
{
    return e2m1_twice(unit.codes[0], 8u * j + 4u * side);
}
