// SPDX-License-Identifier: Apache-2.0
// e^x to a known accuracy: Vulkan's own allows 3 + 2 |x| units in the last place.
#ifndef PHY_LIB_EXP_GLSL
#define PHY_LIB_EXP_GLSL
#include "lib/sums.glsl"

// e^(x + rest) as a float and what it lacks, together within 2e-8. 2^n e^f with n = round(x log2 e), |f| <= ln2 / 2, and
// e^f = 1 + f + f^2 p(f), a Taylor polynomial of degree 7 (off by less than 6e-9 there); ln2 in two parts, the first with
// trailing zeros, so that x - n ln2 loses nothing. x is held between -87 and 88.
vec2 exp_exact(float x, float rest)
{
    x = clamp(x, -87.0, 88.0);
    float n = floor(x * 1.44269504 + 0.5);
    precise float whole = x - n * 0.693359375, part = n * 2.12194440e-4 + rest;
    precise float f = whole + part;
    precise float f_rest = lost_by_adding(whole, part, f);
    precise float p = 1.0 / 5040.0;
    p = p * f + 1.0 / 720.0;
    p = p * f + 1.0 / 120.0;
    p = p * f + 1.0 / 24.0;
    p = p * f + 1.0 / 6.0;
    p = p * f + 0.5;
    precise float above = f + f * f * p; // less than 1
    precise float above_rest = f * f * p - (above - f) + f_rest * (1.0 + above);
    precise float sum = 1.0 + above;
    precise float sum_rest = above - (sum - 1.0) + above_rest;
    float scale = uintBitsToFloat(uint(int(n) + 127) << 23);
    return vec2(sum * scale, sum_rest * scale);
}

#endif
