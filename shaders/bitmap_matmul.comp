// SPDX-License-Identifier: Apache-2.0
#version 450
// One invocation owns ROWS rows of w times COUNT rows of x: their sums over every LANES-th unit of 32 columns.
// One workgroup owns ROW_LANES * ROWS rows of w times COUNT_LANES * COUNT rows of x, whole sums.
// One barrier, where LANES > 1, stands between everyone's parts of a sum and the one who adds them up.
// The reference is src/kernels/bitmap_matmul_ref.c; the contract is src/kernels/bitmap_matmul.h.
//
// matmul.comp for floats without their zeros, as weight_layout.h lays them. Up to 4 lanes take the units of a word of
// bits in turn and find where their values begin by counting the bits below; more take the next words. Every column is
// multiplied, a zero too: x is loaded in order, what an infinity of x does to the whole matrix' zero it does here, and no
// branch depends on a bit. Of 16-bit values an invocation holds two words and takes up to two values for each two
// columns: as many loads as of the whole matrix, of fewer bytes. Chains of additions have 8 products of a group, then 4
// groups of a unit; units are added to a sum that keeps what is lost.
#extension GL_EXT_control_flow_attributes : require
#extension GL_GOOGLE_include_directive : require
#include "lib/codes.glsl"
#include "lib/sums.glsl"
#include "shared/matmul.h"
#include "shared/weight_layout.h"

layout(local_size_x_id = PHY_MATMUL_SPEC_INVOCATIONS) in;
layout(constant_id = PHY_MATMUL_SPEC_LANES) const uint LANES = 8;
layout(constant_id = PHY_MATMUL_SPEC_ROW_LANES) const uint ROW_LANES = 4;
layout(constant_id = PHY_MATMUL_SPEC_COUNT_LANES) const uint COUNT_LANES = 4;
const uint TYPE = PHY_MATMUL_TYPE - PHY_LAYOUT_BITMAP, ROWS = PHY_MATMUL_ROWS, COUNT = PHY_MATMUL_COUNT;

layout(std430, binding = PHY_MATMUL_BINDING_W) readonly buffer W4 { uvec4 w4[]; };
layout(std430, binding = PHY_MATMUL_BINDING_W) readonly buffer W1 { uint w1[]; };
layout(std430, binding = PHY_MATMUL_BINDING_X) readonly buffer X { vec4 x[]; };
layout(std430, binding = PHY_MATMUL_BINDING_Y) writeonly buffer Y { float y[]; };
layout(push_constant) uniform Push { PHY_MATMUL_PUSH_MEMBERS } push;

const uint SUMS = ROWS * COUNT, WORD_UNITS = PHY_BITMAP_UNITS;
const uint UNIT_LANES = LANES < WORD_UNITS ? LANES : WORD_UNITS, WORD_LANES = LANES / UNIT_LANES;

#include "sum_lanes.glsl"

#include "lib/bitmap.glsl"

float widened(uint code)
{
    if (TYPE == PHY_LAYOUT_F32)
        return uintBitsToFloat(code);
    if (TYPE == PHY_LAYOUT_F16)
        return f16_value(code);
    return uintBitsToFloat(code << 16);
}

vec2 widened(uvec2 codes)
{
    return vec2(widened(codes.x), widened(codes.y));
}

void main()
{
    uint lane = own_lane(), row_lane = own_row_lane(), count_lane = own_count_lane();
    uint row = push.row_begin + (gl_WorkGroupID.x * ROW_LANES + row_lane) * ROWS;
    uint first = (gl_WorkGroupID.y * COUNT_LANES + count_lane) * COUNT;
    uint units = push.blocks, words = (units + WORD_UNITS - 1) / WORD_UNITS;
    uint w_at[ROWS], x_at[COUNT];
    // What lies beyond the edges is read from the last row, computed and dropped: no branch.
    [[unroll]] for (uint r = 0; r < ROWS; r++)
        w_at[r] = min(row + r, push.row_end - 1) * words;
    [[unroll]] for (uint n = 0; n < COUNT; n++)
        x_at[n] = push.x_at + min(first + n, push.count - 1) * push.x_stride;
    precise float sum[SUMS], rest[SUMS];
    [[unroll]] for (uint i = 0; i < SUMS; i++)
        sum[i] = rest[i] = 0;
    Values values[ROWS];
    [[unroll]] for (uint r = 0; r < ROWS; r++)
        values[r] = values_at(w1[push.firsts_at + w_at[r]]);
    for (uint word = lane / UNIT_LANES; word < words; word += WORD_LANES) {
        uint end = min(WORD_UNITS, units - word * WORD_UNITS);
        for (uint n = lane % UNIT_LANES; n < end; n += UNIT_LANES) {
            uint u = word * WORD_UNITS + n;
            uint bits[ROWS];
            [[unroll]] for (uint r = 0; r < ROWS; r++)
                bits[r] = w1[(w_at[r] + word) * WORD_UNITS + n];
            // Who has a row alone goes on where it is.
            if (LANES > 1) {
                [[unroll]] for (uint r = 0; r < ROWS; r++) {
                    uvec4 four = w4[w_at[r] + word];
                    ivec4 counts = bitCount(mix(uvec4(0), four, lessThan(uvec4(0, 1, 2, 3), uvec4(n))));
                    values[r] = values_at(w1[push.firsts_at + w_at[r] + word] + uint(counts.x + counts.y + counts.z));
                }
            }
            precise float s[SUMS];
            [[unroll]] for (uint i = 0; i < SUMS; i++)
                s[i] = 0;
            [[dont_unroll]] for (uint j = 0; j < 4; j++) {
                precise vec4 w[2 * ROWS];
                [[unroll]] for (uint r = 0; r < ROWS; r++) {
                    [[unroll]] for (uint side = 0; side < 2; side++) {
                        w[2 * r + side].xy = widened(next_two(values[r], bits[r]));
                        w[2 * r + side].zw = widened(next_two(values[r], bits[r] >> 2));
                        bits[r] >>= 4;
                    }
                }
                [[unroll]] for (uint m = 0; m < COUNT; m++) {
                    uint at = x_at[m] + u * (PHY_UNIT_COLS / 4) + 2 * j;
                    vec4 x_low = x[at], x_high = x[at + 1];
                    [[unroll]] for (uint r = 0; r < ROWS; r++) {
                        precise float p = w[2 * r].x * x_low.x;
                        p = fma(w[2 * r].y, x_low.y, p);
                        p = fma(w[2 * r].z, x_low.z, p);
                        p = fma(w[2 * r].w, x_low.w, p);
                        p = fma(w[2 * r + 1].x, x_high.x, p);
                        p = fma(w[2 * r + 1].y, x_high.y, p);
                        p = fma(w[2 * r + 1].z, x_high.z, p);
                        p = fma(w[2 * r + 1].w, x_high.w, p);
                        s[r * COUNT + m] += p;
                    }
                }
            }
            [[unroll]] for (uint i = 0; i < SUMS; i++)
                add_keeping(s[i], sum[i], rest[i]);
        }
    }
    store_sums(sum, rest, row, first);
}
