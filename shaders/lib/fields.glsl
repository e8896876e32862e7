// SPDX-License-Identifier: Apache-2.0
// Bits of words as numbers. Most devices shift a vector in one instruction; SwiftShader shifts each component of each
// lane by itself, some 17 instructions, but multiplies them at once. So its modules (PHY_WITHOUT_SHIFTS) multiply by powers
// of two: integers upward, floats downward. The values are the same.
#ifndef PHY_LIB_FIELDS_GLSL
#define PHY_LIB_FIELDS_GLSL

#ifdef PHY_WITHOUT_SHIFTS
const bool WITHOUT_SHIFTS = true;
#else
const bool WITHOUT_SHIFTS = false;
#endif

const uint TOP_BIT = 0x80000000u;

// words << by.
uint lifted(uint word, uint by)
{
    return WITHOUT_SHIFTS ? word * (1u << by) : word << by;
}

uvec4 lifted(uvec4 words, uint by)
{
    return WITHOUT_SHIFTS ? words * (1u << by) : words << by;
}

uvec4 lifted(uvec4 words, uvec4 by)
{
    return WITHOUT_SHIFTS ? words * (uvec4(1) << by) : words << by;
}

// words >> by, of words below 2^31 that have no more than 24 significant bits.
uvec4 lowered(uvec4 words, uint by)
{
    if (!WITHOUT_SHIFTS)
        return words >> by;
    return uvec4(ivec4(vec4(ivec4(words)) * uintBitsToFloat(127u - by << 23)));
}

uint lowered(uint word, uint by)
{
    return WITHOUT_SHIFTS ? uint(int(float(int(word)) * uintBitsToFloat(127u - by << 23))) : word >> by;
}

// What brings byte j of a word to the top; and byte j + 1, from that.
uint byte_lift(uint j)
{
    return WITHOUT_SHIFTS ? 1u << 24u - 8u * j : 24u - 8u * j;
}

uint next_byte_lift(uint lift)
{
    return WITHOUT_SHIFTS ? lift >> 8 : lift - 8u;
}

uvec4 byte_to_top(uvec4 words, uint lift)
{
    return WITHOUT_SHIFTS ? words * lift : words << lift;
}

// Of the top byte, as exact floats: all of it, signed; or `bits` bits from `low` on, signed as less 2^(bits - 1).
// Conversions are of signed integers, which CPUs have: the highest bit, where it is one of them, is turned over.
vec4 signed_top_byte(uvec4 words)
{
    return WITHOUT_SHIFTS ? vec4(ivec4(words & 0xFF000000u)) * uintBitsToFloat(103u << 23) : vec4(ivec4(words) >> 24);
}

vec4 raw_field(uvec4 words, uint low, uint bits)
{
    const uint mask = (1u << bits) - 1u << 24u + low;
    return vec4(ivec4((low + bits < 8u ? words : words ^ TOP_BIT) & mask)) * uintBitsToFloat(127u - 24u - low << 23);
}

vec4 field(uvec4 words, uint low, uint bits)
{
    if (!WITHOUT_SHIFTS)
        return vec4(ivec4(words >> 24u + low & (1u << bits) - 1u));
    return low + bits < 8u ? raw_field(words, low, bits) : raw_field(words, low, bits) + float(1 << bits - 1u);
}

vec4 field_less_half(uvec4 words, uint low, uint bits)
{
    if (!WITHOUT_SHIFTS)
        return vec4(ivec4(words >> 24u + low & (1u << bits) - 1u) - int(1u << bits - 1u));
    return low + bits < 8u ? raw_field(words, low, bits) - float(1 << bits - 1u) : raw_field(words, low, bits);
}

#endif
