// SPDX-License-Identifier: Apache-2.0
// Codes as binary32 bits and values: no device needs 16-bit types for it.
#ifndef PHY_LIB_CODES_GLSL
#define PHY_LIB_CODES_GLSL

// IEEE binary16 magnitude (15 bits) widened exactly. A binary16 subnormal is a normal binary32. mix selects without a
// branch: SwiftShader takes minutes over a shader with a hundred of them.
uint f16_magnitude_bits(uint code)
{
    // Rebias the exponent from 15 to 127; an infinity's or NaN's from 31 to 255.
    uint normal = (code << 13) + mix(112u << 23, 224u << 23, code >= 0x7C00u);
    // mantissa * 2^-24: both steps are exact, and cost less than a shift by the leading one's place
    precise float subnormal = float(int(code)) * 5.9604644775390625e-8;
    return mix(normal, floatBitsToUint(subnormal), code < 0x400u);
}

// The value of a binary16 code.
float f16_value(uint code)
{
    return uintBitsToFloat(f16_magnitude_bits(code & 0x7FFFu) | (code & 0x8000u) << 16);
}

#endif
