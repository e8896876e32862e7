// SPDX-License-Identifier: Apache-2.0
// Divisions by and of 127, correctly rounded: Vulkan's own may be 2.5 units off. Bits in, bits out; the operand is normal
// and at least 2^-100, so that the result is normal too.
#ifndef PHY_LIB_DIVIDE_GLSL
#define PHY_LIB_DIVIDE_GLSL

// A quotient of 24 + `extra` bits, the remainder zero or not, to 24 bits: to nearest, ties to even.
uint rounded_bits(uint exponent, uint quotient, uint extra, bool rest)
{
    uint kept = quotient >> extra, low = quotient & (1u << extra) - 1u, tie = 1u << extra - 1u;
    bool up = low > tie || low == tie && (rest || (kept & 1u) != 0u);
    return (exponent << 23) + (kept - 0x00800000u) + (up ? 1u : 0u); // a carry is the next exponent
}

// peak / 127. The significand times 2^8 is below 2^32; its quotient has 25 or 26 bits.
uint over_127_bits(uint peak)
{
    uint exponent = peak >> 23, significand = peak & 0x7FFFFFu | 0x00800000u, dividend = significand << 8;
    uint quotient = dividend / 127u, extra = quotient >= 1u << 25 ? 2u : 1u;
    return rounded_bits(exponent - 8u + extra, quotient, extra, dividend != quotient * 127u);
}

// 127 / peak: long division of 127 2^17, which has 24 bits too, eight bits at a time and two at last. The quotient has 26
// or 27 bits.
uint of_127_bits(uint peak)
{
    uint exponent = peak >> 23, divisor = peak & 0x7FFFFFu | 0x00800000u, rest = 127u << 17;
    uint quotient = rest / divisor;
    rest -= quotient * divisor;
    for (uint i = 0; i < 4; i++) {
        uint bits = i < 3 ? 8u : 2u, digit = (rest << bits) / divisor;
        quotient = quotient << bits | digit;
        rest = (rest << bits) - digit * divisor;
    }
    uint extra = quotient >= 1u << 26 ? 3u : 2u;
    return rounded_bits(257u + extra - exponent, quotient, extra, rest != 0u);
}

#endif
