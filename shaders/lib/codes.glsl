// SPDX-License-Identifier: Apache-2.0
// Magnitudes of the donor's codes as binary32 bits, by integer operations: no device needs 16-bit types for it.
#ifndef PHY_LIB_CODES_GLSL
#define PHY_LIB_CODES_GLSL

// IEEE binary16 magnitude (15 bits) widened exactly. A binary16 subnormal is a normal binary32.
uint f16_magnitude_bits(uint code)
{
    uint exponent = code >> 10, mantissa = code & 0x3FFu;
    uint shift = 10u - uint(findMSB(mantissa | 1u)); // puts a subnormal's leading one at bit 10
    uint subnormal = mantissa == 0u ? 0u : (113u - shift) << 23 | ((mantissa << shift & 0x3FFu) << 13);
    uint normal = (exponent == 31u ? 255u : exponent + 112u) << 23 | mantissa << 13;
    return exponent == 0u ? subnormal : normal;
}

#endif
