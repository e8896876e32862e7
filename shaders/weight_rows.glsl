// SPDX-License-Identifier: Apache-2.0
// Loads from a matrix of blocks, bound at PHY_MATMUL_BINDING_W: one buffer, read as words of 4, 8 and 16 bytes.
#include "lib/unit.glsl"

layout(std430, binding = PHY_MATMUL_BINDING_W) readonly buffer W4 { uvec4 w4[]; };
layout(std430, binding = PHY_MATMUL_BINDING_W) readonly buffer W2 { uvec2 w2[]; };
layout(std430, binding = PHY_MATMUL_BINDING_W) readonly buffer W1 { uint w1[]; };

// What the scales of 8 units come from.
struct Head {
    uvec4 words;
    float scale;
};

// row: its first 16-byte word.
Head load_head(uint row, uint units, uint super)
{
    uint supers = (units + PHY_SUPER_UNITS - 1) / PHY_SUPER_UNITS;
    Head head = Head(uvec4(0), 0.0);
    if (PHY_LAYOUT_HEADS(TYPE) == 4)
        head.words = w4[row + PHY_LAYOUT_HEADS_AT(TYPE, units) + super];
    if (PHY_LAYOUT_HEADS(TYPE) == 2)
        head.words.xy = w2[(row + PHY_LAYOUT_HEADS_AT(TYPE, units)) * 2 + super];
    if (PHY_LAYOUT_SCALES(TYPE) == 1)
        head.scale = uintBitsToFloat(w1[(row + PHY_LAYOUT_SCALES_AT(TYPE, units, supers)) * 4 + super]);
    open_head(head.words, head.scale);
    return head;
}

Unit load_unit(uint row, uint units, uint u)
{
    Unit unit;
    [[unroll]] for (uint i = 0; i < CODES; i++)
        unit.codes[i] = w4[row + u * CODES + i];
    unit.high = uvec2(0);
    if (PHY_LAYOUT_HIGH(TYPE) == 1)
        unit.high = w2[(row + PHY_LAYOUT_HIGH_AT(TYPE, units)) * 2 + u];
    return unit;
}
