// SPDX-License-Identifier: Apache-2.0
// Codes as binary32 bits and values: no device needs 16-bit types for it.
#ifndef PHY_LIB_CODES_GLSL
#define PHY_LIB_CODES_GLSL

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

#endif
