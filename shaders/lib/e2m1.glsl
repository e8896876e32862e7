// SPDX-License-Identifier: Apache-2.0
// Twice the e2m1 values.
#ifndef PHY_LIB_E2M1_GLSL
#define PHY_LIB_E2M1_GLSL

// The four bits from `shift` of each word: 0 1 2 3 4 6 8 12 by the low three, the fourth is the sign. No shift is by
// what differs between invocations, which a CPU without AVX2 would do one by one.
vec4 e2m1_twice(uvec4 words, uint shift)
{
    uvec4 code = words >> shift;
    precise vec4 normal = uintBitsToFloat(((code & 7u) << 22) + (127u << 23));
    // As if the exponent field were never zero, subnormals come out as 1 + m/2 where m is meant; of any other value the
    // same is no less than the value.
    precise vec4 subnormal = normal * 2.0 - 2.0;
    return uintBitsToFloat(floatBitsToUint(min(normal, subnormal)) | (code & 8u) << 28);
}

#endif
