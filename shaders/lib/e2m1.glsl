// SPDX-License-Identifier: Apache-2.0
// Twice the e2m1 values.
#ifndef PHY_LIB_E2M1_GLSL
#define PHY_LIB_E2M1_GLSL
#include "lib/fields.glsl"

// Of the four bits from `low` on of the top byte: 0 1 2 3 4 6 8 12 by the low three, the fourth is the sign. As a function
// of three bits the values are the highest of three lines.
vec4 e2m1_twice(uvec4 words, uint low)
{
    precise vec4 code = field(words, low, 3);
    precise vec4 value = max(max(code, code * 2.0 - 4.0), code * 4.0 - 16.0);
    return uintBitsToFloat(floatBitsToUint(value) | lifted(words, 4u - low) & TOP_BIT);
}

#endif
