// SPDX-License-Identifier: Apache-2.0
// e^x to a known accuracy: Vulkan's own allows 3 + 2 |x| units in the last place.
#ifndef PHY_LIB_EXP_GLSL
#define PHY_LIB_EXP_GLSL

// 2^n e^f with n = round(x log2 e), |f| <= ln2 / 2, and a Taylor polynomial of degree 6 (relative error below 2e-7
// there); ln2 in two parts, the first with trailing zeros, so that x - n ln2 loses nothing. x is held between -87 and 88.
float exp_exact(float x)
{
    x = clamp(x, -87.0, 88.0);
    float n = floor(x * 1.44269504 + 0.5);
    precise float f = x - n * 0.693359375;
    f = f + n * 2.12194440e-4;
    precise float p = 1.0 / 720.0;
    p = p * f + 1.0 / 120.0;
    p = p * f + 1.0 / 24.0;
    p = p * f + 1.0 / 6.0;
    p = p * f + 0.5;
    p = p * f + 1.0;
    p = p * f + 1.0;
    return p * uintBitsToFloat(uint(int(n) + 127) << 23);
}

#endif
