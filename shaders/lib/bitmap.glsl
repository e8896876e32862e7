// SPDX-License-Identifier: Apache-2.0
// Reading a bitmap's values in the order of its columns. TYPE, of the values, is the including shader's, as is w1, what is
// bound in words. PHY_TEXELS: values come from a texel buffer, a gather to llvmpipe, where it makes a loop over the lanes
// of a storage buffer's loads.
#ifndef PHY_LIB_BITMAP_GLSL
#define PHY_LIB_BITMAP_GLSL

#ifdef PHY_TEXELS
layout(binding = PHY_MATMUL_BINDING_TEXELS + 2) uniform utextureBuffer texels;
#endif

uint word_of_values(uint at)
{
#ifdef PHY_TEXELS
    return texelFetch(texels, int(at)).x;
#else
    return w1[at];
#endif
}

// Where an invocation reads values. 16-bit ones: `at` is the word after `word`, whose upper half is next if `odd`.
struct Values {
    uint at, word, next, odd;
};

Values values_at(uint value)
{
    if (TYPE == PHY_LAYOUT_F32)
        return Values(value, 0, 0, 0);
    uint at = value / 2;
    return Values(at + 1, word_of_values(at), word_of_values(at + 1), value & 1);
}

// `yes` where a bit, 0 or 1, is 1. Not ?:, which glslc makes branches of: SwiftShader compiles a hundred of those for
// minutes.
uint chosen(uint bit, uint yes, uint no)
{
    return no ^ ((no ^ yes) & -bit);
}

// The codes of the lowest two bits' columns.
uvec2 next_two(inout Values v, uint bits)
{
    uint first = bits & 1, second = bits >> 1 & 1;
    if (TYPE == PHY_LAYOUT_F32) {
        uvec2 two = uvec2(word_of_values(v.at), word_of_values(v.at + first)) & uvec2(-first, -second);
        v.at += first + second;
        return two;
    }
    uint two = chosen(v.odd, v.word >> 16 | v.next << 16, v.word);
    uint low = two & 0xFFFFu & -first, high = chosen(first, two >> 16, two & 0xFFFFu) & -second;
    v.odd += first + second;
    uint step = v.odd >> 1;
    v.word = chosen(step, v.next, v.word);
    v.odd &= 1;
    v.at += step;
    v.next = word_of_values(v.at);
    return uvec2(low, high);
}

#endif
