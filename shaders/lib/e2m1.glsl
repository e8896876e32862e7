// SPDX-License-Identifier: Apache-2.0
// Twice the e2m1 values, as integers.
#ifndef PHY_LIB_E2M1_GLSL
#define PHY_LIB_E2M1_GLSL

// The four bits from `shift` of each word: 0 1 2 3 4 6 8 12 by the low three, the fourth is the sign.
ivec4 e2m1_twice(uvec4 words, uint shift)
{
    uvec4 code = words >> shift;
    ivec4 magnitude = ivec4(uvec4(0xC8643210u) >> ((code & 7u) << 2) & 15u);
    ivec4 sign = ivec4(code << 28) >> 31; // -1 or 0
    return (magnitude ^ sign) - sign;
}

#endif
