// SPDX-License-Identifier: Apache-2.0
// Codes as binary32 bits and values: no device needs 16-bit types for it.
#ifndef PHY_LIB_CODES_GLSL
#define PHY_LIB_CODES_GLSL
#include "lib/fields.glsl"

// IEEE binary16 magnitude (15 bits) widened exactly, in operations that every device has for whole vectors: no branch
// (SwiftShader takes minutes over a shader with a hundred of them), no selection. A binary16 subnormal is a normal
// binary32.
uint f16_magnitude_bits(uint code)
{
    int magnitude = int(code);
    // Rebias the exponent from 15 to 127; an infinity's or NaN's from 31 to 255.
    int beyond = 0x7BFF - magnitude >> 31; // -1 or 0
    precise float normal = intBitsToFloat((magnitude << 13) + (112 << 23) + (beyond & 112 << 23));
    // As if a subnormal's exponent field were 1, m 2^-24 came out as 2^-15 + m 2^-25: twice that less 2^-14. Of any
    // other value the same is no less than the value.
    precise float subnormal = normal * 2.0 - 6.103515625e-5;
    return floatBitsToUint(min(normal, subnormal));
}

// The value of a binary16 code.
float f16_value(uint code)
{
    return uintBitsToFloat(f16_magnitude_bits(code & 0x7FFFu) | (code & 0x8000u) << 16);
}

// The value of the code in the upper half of a word, whatever the lower one holds: f16_value in operations that
// SwiftShader has for whole vectors, too.
float f16_upper(uint word)
{
    if (!WITHOUT_SHIFTS)
        return f16_value(word >> 16);
    uint magnitude = word & 0x7FFF0000u;
    uint beyond = mix(0u, 112u << 23, magnitude > 0x7BFF0000u);
    precise float normal = uintBitsToFloat(lowered(magnitude, 3) + (112u << 23) + beyond);
    precise float subnormal = normal * 2.0 - 6.103515625e-5;
    return uintBitsToFloat(floatBitsToUint(min(normal, subnormal)) | word & TOP_BIT);
}

// The values of both halves, lower first.
vec2 f16_values(uint word)
{
    return WITHOUT_SHIFTS ? vec2(f16_upper(lifted(word, 16)), f16_upper(word))
                          : vec2(f16_value(word & 0xFFFFu), f16_value(word >> 16));
}

vec2 bf16_values(uint word)
{
    return uintBitsToFloat(uvec2(lifted(word, 16), word & 0xFFFF0000u));
}

// Half n of 8 in four words, in the upper half of a word.
uint half_on_top(uvec4 words, uint n)
{
    uint word = words[n >> 1];
    return WITHOUT_SHIFTS ? word * mix(65536u, 1u, (n & 1u) == 1u) : word << (1u - (n & 1u)) * 16u;
}

#endif
