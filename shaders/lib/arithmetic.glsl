// SPDX-License-Identifier: Apache-2.0
// The scalar steps of docs/tile-flow.md: each operation rounded on its own, so every result is `precise` (NoContraction).
#ifndef PHY_LIB_ARITHMETIC_GLSL
#define PHY_LIB_ARITHMETIC_GLSL

// 1/y for normal y > 0: a magic-constant start and two Newton steps.
float recip(float y)
{
    precise float x0 = uintBitsToFloat(0x7EF311C7u - floatBitsToUint(y));
    precise float x1 = x0 * (2.0 - y * x0);
    precise float x2 = x1 * (2.0 - y * x1);
    return x2;
}

// bits(a * b) rounded once, with subnormals kept whatever the device does with them: a is normal, b finite and >= 0.
// A result below 2^-126 is 0. In integers, because a device that flushes would lose a product whose factor is subnormal
// or that rounds up to 2^-126. No branches: they would cost more than they skip.
uint product_bits(uint a, uint b)
{
    uint b_fraction = b & 0x7FFFFFu;
    bool subnormal = b < 0x00800000u;
    int shift = subnormal ? 23 - findMSB(b_fraction | 1u) : 0;
    uint b_mantissa = subnormal ? b_fraction << shift : b_fraction | 0x00800000u;
    int exponent = int(a >> 23) + int(b >> 23) - 127 + (subnormal ? 1 - shift : 0);
    uint high, low; // the product of the two 24-bit mantissas, times 2^16: in [2^62, 2^64)
    umulExtended((a << 8) | 0x80000000u, b_mantissa << 8, high, low);
    bool carry = high >= 0x80000000u;
    exponent += carry ? 1 : 0;
    high = carry ? high : high << 1 | low >> 31;
    low = carry ? low : low << 1;
    uint rest = high & 0xFFu, mantissa = high >> 8 & 0x7FFFFFu;
    bool up = rest > 0x80u || (rest == 0x80u && (low | (mantissa & 1u)) != 0u);
    uint bits = (uint(exponent) << 23 | mantissa) + (up ? 1u : 0u); // a carry out of the mantissa is the next exponent
    // In [2^-127, 2^-126) only the last half step, ties included, rounds up to 2^-126.
    uint tiny = exponent == 0 && high >= 0xFFFFFF00u ? 0x00800000u : 0u;
    return (b & 0x7FFFFFFFu) == 0u ? 0u : exponent <= 0 ? tiny : min(bits, 0x7F800000u);
}

#endif
