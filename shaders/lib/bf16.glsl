// SPDX-License-Identifier: Apache-2.0
// Rounding to bf16 as src/kernels/bf16_matmul.h says it: to nearest, ties to even; magnitudes below 2^-126 become zeros
// of their sign, and a NaN stays one.
#ifndef PHY_LIB_BF16_GLSL
#define PHY_LIB_BF16_GLSL

vec4 rounded_to_bf16(vec4 value)
{
    uvec4 bits = floatBitsToUint(value), magnitude = bits & 0x7FFFFFFFu;
    uvec4 nearest = bits + 0x7FFFu + (bits >> 16 & 1u) & 0xFFFF0000u;
    nearest = mix(nearest, bits & 0x80000000u, lessThan(magnitude, uvec4(0x00800000u)));
    return uintBitsToFloat(mix(nearest, bits | 0x00400000u, greaterThan(magnitude, uvec4(0x7F800000u))));
}

#endif
