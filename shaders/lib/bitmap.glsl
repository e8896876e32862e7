// SPDX-License-Identifier: Apache-2.0
// Reading a bitmap's values in the order of its columns. TYPE, of the values, is the including shader's, as is w1, what is
// bound in words.
#ifndef PHY_LIB_BITMAP_GLSL
#define PHY_LIB_BITMAP_GLSL

// Where an invocation reads values. 16-bit ones: `at` is the word after `word`, whose upper half is next if `odd`.
struct Values {
    uint at, word, next, odd;
};

Values values_at(uint value)
{
    if (TYPE == PHY_LAYOUT_F32)
        return Values(value, 0, 0, 0);
    uint at = value / 2;
    return Values(at + 1, w1[at], w1[at + 1], value & 1);
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
        uvec2 two = uvec2(w1[v.at], w1[v.at + first]) & uvec2(-first, -second);
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
    v.next = w1[v.at];
    return uvec2(low, high);
}

#endif
