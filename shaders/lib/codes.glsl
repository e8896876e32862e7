// SPDX-License-Identifier: Apache-2.0
// Codes as binary32 bits and values: no device needs 16-bit types for it.
#ifndef PHY_LIB_CODES_GLSL
#define PHY_LIB_CODES_GLSL

// IEEE binary16 magnitude (15 bits) widened exactly. A binary16 subnormal is a normal binary32.
uint f16_magnitude_bits(uint code)
{
    uint exponent = code >> 10, mantissa = code & 0x3FFu;
    // mantissa * 2^-24: both steps are exact, and cost less than a shift by the leading one's place
    precise float subnormal = float(int(mantissa)) * 5.9604644775390625e-8;
    uint normal = (exponent == 31u ? 255u : exponent + 112u) << 23 | mantissa << 13;
    return exponent == 0u ? floatBitsToUint(subnormal) : normal;
}

// The value of a binary16 code.
float f16_value(uint code)
{
    return uintBitsToFloat(f16_magnitude_bits(code & 0x7FFFu) | (code & 0x8000u) << 16);
}

#endif
