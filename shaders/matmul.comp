// SPDX-License-Identifier: Apache-2.0
#version 450
// One invocation owns ROWS rows of w times COUNT rows of x: their sums over every LANES-th block of k.
// One workgroup owns ROW_LANES * ROWS rows of w times COUNT_LANES * COUNT rows of x, whole sums.
// One barrier, where LANES > 1, stands between everyone's parts of a sum and the one who adds them up.
// The reference is src/kernels/matmul_ref.c; the contract is src/kernels/matmul.h.
//
// Each load serves as many products as its register tile has rows on the other side: ROWS + 2 COUNT loads of 16 bytes
// make 8 ROWS COUNT products of 16-bit weights. On a GPU the LANES neighbours along k read neighbouring blocks. On
// llvmpipe, where a load is a loop over the lanes and a barrier a coroutine, LANES is 1 and the tile as large as the
// compiler bears. Sums keep one order whatever the number of rows of x, with every operation `precise`: twice 4 products of a
// word, PANEL words, and a sum of those that keeps what is lost.
//
// PHY_MATMUL_TYPE, _ROWS and _COUNT come with the build, a module for each, so that glslc turns the tile into registers:
// SwiftShader, which neither unrolls nor folds what specialisation made constant, is 6 times slower with the tile in
// memory.
#extension GL_EXT_control_flow_attributes : require
#extension GL_GOOGLE_include_directive : require
#include "lib/codes.glsl"
#include "lib/sums.glsl"
#include "shared/matmul.h"

layout(local_size_x_id = PHY_MATMUL_SPEC_INVOCATIONS) in;
layout(constant_id = PHY_MATMUL_SPEC_LANES) const uint LANES = 8;
layout(constant_id = PHY_MATMUL_SPEC_ROW_LANES) const uint ROW_LANES = 4;
layout(constant_id = PHY_MATMUL_SPEC_COUNT_LANES) const uint COUNT_LANES = 4;
const uint TYPE = PHY_MATMUL_TYPE, ROWS = PHY_MATMUL_ROWS, COUNT = PHY_MATMUL_COUNT;

layout(std430, binding = PHY_MATMUL_BINDING_W) readonly buffer W { uvec4 w[]; };
layout(std430, binding = PHY_MATMUL_BINDING_X) readonly buffer X { vec4 x[]; };
layout(std430, binding = PHY_MATMUL_BINDING_Y) writeonly buffer Y { float y[]; };
#ifdef PHY_MATMUL_LISTED
layout(std430, binding = PHY_MATMUL_BINDING_X) readonly buffer List { uint list[]; };
#endif
layout(push_constant) uniform Push { PHY_MATMUL_PUSH_MEMBERS } push;

const uint F16 = 1, F32 = 2;
const uint SUMS = ROWS * COUNT;
const uint PANEL = PHY_MATMUL_PANEL_WORDS(TYPE);
const uint BLOCK_VEC4S = TYPE == F32 ? 1 : 2; // of x beside a block of w

#include "sum_lanes.glsl"

// The first and the second half of a block: a 16-bit word holds two weights, low half first. F32 has only one.
void widen(uvec4 block, out vec4 low, out vec4 high)
{
    if (TYPE == F32) {
        low = uintBitsToFloat(block);
        high = vec4(0);
    } else if (TYPE == F16) {
        low = vec4(f16_values(block.x), f16_values(block.y));
        high = vec4(f16_values(block.z), f16_values(block.w));
    } else {
        low = vec4(bf16_values(block.x), bf16_values(block.y));
        high = vec4(bf16_values(block.z), bf16_values(block.w));
    }
}

void main()
{
    uint lane = own_lane(), row_lane = own_row_lane(), count_lane = own_count_lane();
    uint row = push.row_begin + (gl_WorkGroupID.x * ROW_LANES + row_lane) * ROWS;
    uint first = (gl_WorkGroupID.y * COUNT_LANES + count_lane) * COUNT;
    uint w_at[ROWS], x_at[COUNT];
    // What lies beyond the edges is read from the last row, computed and dropped: no branch.
    [[unroll]] for (uint r = 0; r < ROWS; r++) {
        uint at = min(row + r, push.row_end - 1);
#ifdef PHY_MATMUL_LISTED
        at = list[push.list_at + at] - push.first_row;
#endif
        w_at[r] = at * push.blocks;
    }
    [[unroll]] for (uint n = 0; n < COUNT; n++)
        x_at[n] = push.x_at + min(first + n, push.count - 1) * push.x_stride;
    precise float sum[SUMS], rest[SUMS];
    [[unroll]] for (uint i = 0; i < SUMS; i++)
        sum[i] = rest[i] = 0;
    for (uint panel = lane; panel < push.blocks; panel += LANES * PANEL) {
        uint end = min(panel + LANES * PANEL, push.blocks);
        precise float part[SUMS];
        [[unroll]] for (uint i = 0; i < SUMS; i++)
            part[i] = 0;
        for (uint k = panel; k < end; k += LANES) {
            vec4 low[ROWS], high[ROWS];
            [[unroll]] for (uint r = 0; r < ROWS; r++)
                widen(w[w_at[r] + k], low[r], high[r]);
            [[unroll]] for (uint n = 0; n < COUNT; n++) {
                vec4 x_low = x[x_at[n] + k * BLOCK_VEC4S], x_high = vec4(0);
                if (TYPE != F32)
                    x_high = x[x_at[n] + k * BLOCK_VEC4S + 1];
                [[unroll]] for (uint r = 0; r < ROWS; r++) {
                    precise float s = low[r].x * x_low.x;
                    s = fma(low[r].y, x_low.y, s);
                    s = fma(low[r].z, x_low.z, s);
                    s = fma(low[r].w, x_low.w, s);
                    if (TYPE != F32) {
                        precise float t = high[r].x * x_high.x;
                        t = fma(high[r].y, x_high.y, t);
                        t = fma(high[r].z, x_high.z, t);
                        t = fma(high[r].w, x_high.w, t);
                        s += t;
                    }
                    part[r * COUNT + n] += s;
                }
            }
        }
        [[unroll]] for (uint i = 0; i < SUMS; i++)
            add_keeping(part[i], sum[i], rest[i]);
    }
    store_sums(sum, rest, row, first);
}
