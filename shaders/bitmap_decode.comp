// SPDX-License-Identifier: Apache-2.0
#version 450
// One invocation owns one unit of 32 columns of a row of w.
// One workgroup owns PHY_DECODE_INVOCATIONS neighbours of a row.
// No barrier: nothing is shared.
// The reference is phy_bitmap_decode_row.
//
// The zeros are put back, nothing is widened: the scratch holds the matrix as it would be stored whole.
#extension GL_EXT_control_flow_attributes : require
#extension GL_GOOGLE_include_directive : require
#include "shared/matmul.h"
#include "shared/weight_layout.h"

layout(local_size_x = PHY_DECODE_INVOCATIONS) in;
const uint TYPE = PHY_MATMUL_TYPE - PHY_LAYOUT_BITMAP;

layout(std430, binding = PHY_MATMUL_BINDING_W) readonly buffer W4 { uvec4 w4[]; };
layout(std430, binding = PHY_MATMUL_BINDING_W) readonly buffer W1 { uint w1[]; };
layout(std430, binding = PHY_MATMUL_BINDING_SCRATCH) writeonly buffer Scratch { uvec4 scratch[]; };
layout(push_constant) uniform Push { PHY_DECODE_PUSH_MEMBERS } push;

#include "lib/bitmap.glsl"

const uint WORDS = PHY_LAYOUT_CODES(TYPE);

void main()
{
    uint u = gl_GlobalInvocationID.x, units = push.units, words = (units + PHY_BITMAP_UNITS - 1) / PHY_BITMAP_UNITS;
    if (u >= units)
        return;
    uint word = (push.row_begin + gl_WorkGroupID.y) * words + u / PHY_BITMAP_UNITS, n = u % PHY_BITMAP_UNITS;
    uvec4 four = w4[word];
    uint bits = w1[word * PHY_BITMAP_UNITS + n];
    ivec4 counts = bitCount(mix(uvec4(0), four, lessThan(uvec4(0, 1, 2, 3), uvec4(n))));
    Values values = values_at(w1[push.firsts_at + word] + uint(counts.x + counts.y + counts.z));
    uint to = (gl_WorkGroupID.y * units + u) * WORDS;
    [[dont_unroll]] for (uint i = 0; i < WORDS; i++) {
        uvec4 codes;
        if (TYPE == PHY_LAYOUT_F32) {
            codes.xy = next_two(values, bits);
            codes.zw = next_two(values, bits >> 2);
            bits >>= 4;
        } else {
            [[unroll]] for (uint c = 0; c < 4; c++) {
                uvec2 two = next_two(values, bits);
                codes[c] = two.x | two.y << 16;
                bits >>= 2;
            }
        }
        scratch[to + i] = codes;
    }
}
