// SPDX-License-Identifier: Apache-2.0
#version 450
// One invocation owns ROWS rows of w times COUNT rows of x: their sums over every LANES-th unit of 32 columns.
// One workgroup owns ROW_LANES * ROWS rows of w times COUNT_LANES * COUNT rows of x, whole sums.
// One barrier, where LANES > 1, stands between everyone's parts of a sum and the one who adds them up.
// The reference and contract are src/kernels/int8_matmul.h; x was rounded by round_x.comp.
//
// matmul_blocks.comp with integers: codes times codes are exact, and each unit's sum is scaled once. With PHY_MATMUL_DOT
// four products of bytes are one instruction (VK_KHR_shader_integer_dot_product); with PHY_WITHOUT_SHIFTS they are products
// of floats. The sums are the same integers.
#extension GL_EXT_control_flow_attributes : require
#extension GL_GOOGLE_include_directive : require
#include "shared/matmul.h"
#include "weight_rows.glsl"
#include "lib/sums.glsl"

#ifdef PHY_MATMUL_DOT
#extension GL_EXT_spirv_intrinsics : require
// OpSDotAccSat's plain sibling, on four signed bytes in a word: packed vector format 0.
spirv_instruction(extensions = ["SPV_KHR_integer_dot_product"], capabilities = [6018, 6019], id = 4450)
int dot_bytes(uint a, uint b, spirv_literal int format);
#endif

layout(local_size_x_id = PHY_MATMUL_SPEC_INVOCATIONS) in;
layout(constant_id = PHY_MATMUL_SPEC_LANES) const uint LANES = 8;
layout(constant_id = PHY_MATMUL_SPEC_ROW_LANES) const uint ROW_LANES = 4;
layout(constant_id = PHY_MATMUL_SPEC_COUNT_LANES) const uint COUNT_LANES = 4;
const uint ROWS = PHY_MATMUL_ROWS, COUNT = PHY_MATMUL_COUNT;

layout(std430, binding = PHY_MATMUL_BINDING_X) readonly buffer X { uvec4 x[]; };
layout(std430, binding = PHY_MATMUL_BINDING_X) readonly buffer Scales { float x_scales[]; };
layout(std430, binding = PHY_MATMUL_BINDING_Y) writeonly buffer Y { float y[]; };
layout(push_constant) uniform Push { PHY_MATMUL_PUSH_MEMBERS } push;

const uint SUMS = ROWS * COUNT, SCALES = TWO_SCALES ? 2 : 1;
const uint UNIT_LANES = LANES < PHY_SUPER_UNITS ? LANES : PHY_SUPER_UNITS, HEAD_LANES = LANES / UNIT_LANES;

#include "sum_lanes.glsl"

#ifndef PHY_WITHOUT_SHIFTS
// The sum over four words of the products of their bytes.
int dot_words(uvec4 a, uvec4 b)
{
#ifdef PHY_MATMUL_DOT
    return dot_bytes(a.x, b.x, 0) + dot_bytes(a.y, b.y, 0) + dot_bytes(a.z, b.z, 0) + dot_bytes(a.w, b.w, 0);
#else
    ivec4 sum = ivec4(0);
    [[unroll]] for (uint j = 0; j < 4; j++)
        sum += (ivec4(a << 24 - 8 * j) >> 24) * (ivec4(b << 24 - 8 * j) >> 24);
    return sum.x + sum.y + sum.z + sum.w;
#endif
}

// Of unit u: s[side * SUMS + i], the sums of products of codes, side 0 and side 1 (or with one scale both in the former);
// of x alone to x_sum.
void unit_sums(uint w_at[ROWS], uint x_at[COUNT], uint units, uint u, out float s[SCALES * SUMS], out float x_sum[COUNT])
{
    uvec4 codes[2 * ROWS];
    [[unroll]] for (uint r = 0; r < ROWS; r++) {
        Unit unit = load_unit(w_at[r], units, u);
        codes[2 * r] = unit_bytes(unit, 0);
        codes[2 * r + 1] = unit_bytes(unit, 1);
    }
    [[unroll]] for (uint m = 0; m < COUNT; m++) {
        uvec4 x0 = x[x_at[m] + u * 2], x1 = x[x_at[m] + u * 2 + 1];
        x_sum[m] = HAS_MINIMUM ? float(dot_words(x0, uvec4(0x01010101u)) + dot_words(x1, uvec4(0x01010101u))) : 0.0;
        [[unroll]] for (uint r = 0; r < ROWS; r++) {
            int s0 = dot_words(codes[2 * r], x0), s1 = dot_words(codes[2 * r + 1], x1);
            s[r * COUNT + m] = float(SCALES == 2 ? s0 : s0 + s1);
            if (SCALES == 2)
                s[SUMS + r * COUNT + m] = float(s1);
        }
    }
}
#else
// The same in floats: a sum of 32 products of signed bytes is below 2^24, so all of it is exact.
void unit_sums(uint w_at[ROWS], uint x_at[COUNT], uint units, uint u, out float s[SCALES * SUMS], out float x_sum[COUNT])
{
    Unit unit[ROWS];
    uvec4 words[2 * COUNT];
    [[unroll]] for (uint r = 0; r < ROWS; r++)
        unit[r] = load_unit(w_at[r], units, u);
    [[unroll]] for (uint m = 0; m < COUNT; m++) {
        words[2 * m] = x[x_at[m] + u * 2];
        words[2 * m + 1] = x[x_at[m] + u * 2 + 1];
        x_sum[m] = 0;
    }
    [[unroll]] for (uint i = 0; i < SCALES * SUMS; i++)
        s[i] = 0;
    uint lift = byte_lift(0);
    [[dont_unroll]] for (uint j = 0; j < 4; j++) {
        [[unroll]] for (uint side = 0; side < 2; side++) {
            vec4 w[ROWS];
            [[unroll]] for (uint r = 0; r < ROWS; r++)
                w[r] = unit_values(unit[r], side, lift);
            [[unroll]] for (uint m = 0; m < COUNT; m++) {
                vec4 x4 = signed_top_byte(byte_to_top(words[2 * m + side], lift));
                if (HAS_MINIMUM)
                    x_sum[m] += x4.x + x4.y + x4.z + x4.w;
                [[unroll]] for (uint r = 0; r < ROWS; r++) {
                    uint i = (SCALES == 2 ? side * SUMS : 0) + r * COUNT + m;
                    s[i] = fma(w[r].x, x4.x, s[i]);
                    s[i] = fma(w[r].y, x4.y, s[i]);
                    s[i] = fma(w[r].z, x4.z, s[i]);
                    s[i] = fma(w[r].w, x4.w, s[i]);
                }
            }
        }
        lift = next_byte_lift(lift);
    }
}
#endif

void main()
{
    uint lane = own_lane(), row_lane = own_row_lane(), count_lane = own_count_lane();
    uint row = push.row_begin + (gl_WorkGroupID.x * ROW_LANES + row_lane) * ROWS;
    uint first = (gl_WorkGroupID.y * COUNT_LANES + count_lane) * COUNT;
    uint units = push.blocks, supers = (units + PHY_SUPER_UNITS - 1) / PHY_SUPER_UNITS;
    uint row_words = PHY_ROUNDED_ROW(units, supers);
    uint w_at[ROWS], x_at[COUNT];
    // What lies beyond the edges is read from the last row, computed and dropped: no branch.
    [[unroll]] for (uint r = 0; r < ROWS; r++)
        w_at[r] = min(row + r, push.row_end - 1) * PHY_LAYOUT_ROW(TYPE, units, supers);
    [[unroll]] for (uint m = 0; m < COUNT; m++)
        x_at[m] = push.x_at + min(first + m, push.count - 1) * row_words;
    precise float sum[SUMS], rest[SUMS];
    [[unroll]] for (uint i = 0; i < SUMS; i++)
        sum[i] = rest[i] = 0;
    for (uint super = lane / UNIT_LANES; super < supers; super += HEAD_LANES) {
        Head head[ROWS];
        [[unroll]] for (uint r = 0; r < ROWS; r++)
            head[r] = load_head(w_at[r], units, super);
        precise float part[SUMS];
        [[unroll]] for (uint i = 0; i < SUMS; i++)
            part[i] = 0;
        uint end = min(PHY_SUPER_UNITS, units - super * PHY_SUPER_UNITS);
        for (uint n = lane % UNIT_LANES; n < end; n += UNIT_LANES) {
            uint u = super * PHY_SUPER_UNITS + n;
            float s[SCALES * SUMS], x_sum[COUNT];
            unit_sums(w_at, x_at, units, u, s, x_sum);
            [[unroll]] for (uint r = 0; r < ROWS; r++) {
                vec2 scale = unit_scales(head[r].words, head[r].scale, n);
                float minimum = unit_minimum(head[r].words, n);
                [[unroll]] for (uint m = 0; m < COUNT; m++) {
                    uint i = r * COUNT + m;
                    part[i] = fma(s[i], scale.x, part[i]);
                    if (SCALES == 2)
                        part[i] = fma(s[SUMS + i], scale.y, part[i]);
                    if (HAS_MINIMUM)
                        part[i] = fma(-x_sum[m], minimum, part[i]);
                }
            }
        }
        [[unroll]] for (uint m = 0; m < COUNT; m++) {
            float x_scale = x_scales[(x_at[m] + units * 2) * 4 + super];
            [[unroll]] for (uint r = 0; r < ROWS; r++)
                add_keeping(part[r * COUNT + m] * x_scale, sum[r * COUNT + m], rest[r * COUNT + m]);
        }
    }
    store_sums(sum, rest, row, first);
}
