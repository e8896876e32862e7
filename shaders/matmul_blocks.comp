// SPDX-License-Identifier: Apache-2.0
#version 450
// One invocation owns ROWS rows of w times COUNT rows of x: their sums over every LANES-th unit of 32 columns.
// One workgroup owns ROW_LANES * ROWS rows of w times COUNT_LANES * COUNT rows of x, whole sums.
// One barrier, where LANES > 1, stands between everyone's parts of a sum and the one who adds them up.
// The reference is phy_weight_decode_row and a product in float64; the contract is src/kernels/matmul.h.
//
// matmul.comp for the block formats; with PHY_MATMUL_LISTED both take rows of w by list: docs/shaders.md
// draws the flow. Up to 8 lanes share a head and take its units in turn; more take the next heads. Codes are multiplied as
// they are and each sum of up to 32 by its scale; with a minimum (q4_K: it and scale * code may cancel), with two scales (q6_K)
// and where code * scale is rounded (fp4) each weight is made first, as the decoder makes it. Chains of additions have 4
// products, then 4 pairs of those of a unit; units are added to a sum that keeps what is lost.
#extension GL_EXT_control_flow_attributes : require
#extension GL_GOOGLE_include_directive : require
#include "shared/matmul.h"
#include "weight_rows.glsl"
#include "lib/sums.glsl"

layout(local_size_x_id = PHY_MATMUL_SPEC_INVOCATIONS) in;
layout(constant_id = PHY_MATMUL_SPEC_LANES) const uint LANES = 8;
layout(constant_id = PHY_MATMUL_SPEC_ROW_LANES) const uint ROW_LANES = 4;
layout(constant_id = PHY_MATMUL_SPEC_COUNT_LANES) const uint COUNT_LANES = 4;
const uint ROWS = PHY_MATMUL_ROWS, COUNT = PHY_MATMUL_COUNT;

layout(std430, binding = PHY_MATMUL_BINDING_X) readonly buffer X { vec4 x[]; };
layout(std430, binding = PHY_MATMUL_BINDING_Y) writeonly buffer Y { float y[]; };
#ifdef PHY_MATMUL_LISTED
layout(std430, binding = PHY_MATMUL_BINDING_X) readonly buffer List { uint list[]; };
#endif
layout(push_constant) uniform Push { PHY_MATMUL_PUSH_MEMBERS } push;

const uint SUMS = ROWS * COUNT;
const bool WEIGHTS_FIRST = HAS_MINIMUM || TWO_SCALES || ROUNDS_WEIGHTS;
const uint UNIT_LANES = LANES < PHY_SUPER_UNITS ? LANES : PHY_SUPER_UNITS, HEAD_LANES = LANES / UNIT_LANES;

#include "sum_lanes.glsl"

void main()
{
    uint lane = own_lane(), row_lane = own_row_lane(), count_lane = own_count_lane();
    uint row = push.row_begin + (gl_WorkGroupID.x * ROW_LANES + row_lane) * ROWS;
    uint first = (gl_WorkGroupID.y * COUNT_LANES + count_lane) * COUNT;
    uint units = push.blocks, supers = (units + PHY_SUPER_UNITS - 1) / PHY_SUPER_UNITS;
    uint w_at[ROWS], x_at[COUNT];
    // What lies beyond the edges is read from the last row, computed and dropped: no branch.
    [[unroll]] for (uint r = 0; r < ROWS; r++) {
        uint at = min(row + r, push.row_end - 1);
#ifdef PHY_MATMUL_LISTED
        at = list[push.list_at + at] - push.first_row;
#endif
        w_at[r] = at * PHY_LAYOUT_ROW(TYPE, units, supers);
    }
    [[unroll]] for (uint n = 0; n < COUNT; n++)
        x_at[n] = push.x_at + min(first + n, push.count - 1) * push.x_stride;
    precise float sum[SUMS], rest[SUMS];
    [[unroll]] for (uint i = 0; i < SUMS; i++)
        sum[i] = rest[i] = 0;
    for (uint super = lane / UNIT_LANES; super < supers; super += HEAD_LANES) {
        Head head[ROWS];
        [[unroll]] for (uint r = 0; r < ROWS; r++)
            head[r] = load_head(w_at[r], units, super);
        uint end = min(PHY_SUPER_UNITS, units - super * PHY_SUPER_UNITS);
        for (uint n = lane % UNIT_LANES; n < end; n += UNIT_LANES) {
            uint u = super * PHY_SUPER_UNITS + n;
            Unit unit[ROWS];
            vec2 scale[ROWS];
            float minimum[ROWS];
            [[unroll]] for (uint r = 0; r < ROWS; r++) {
                unit[r] = load_unit(w_at[r], units, u);
                scale[r] = unit_scales(head[r].words, head[r].scale, n);
                minimum[r] = unit_minimum(head[r].words, n);
            }
            uvec4 tops[ROWS][2];
            if (HAS_TOPS) {
                [[unroll]] for (uint r = 0; r < ROWS; r++) {
                    tops[r][0] = unit_tops(unit[r], 0);
                    tops[r][1] = unit_tops(unit[r], 1);
                }
            }
            precise float s[SUMS];
            [[unroll]] for (uint i = 0; i < SUMS; i++)
                s[i] = 0;
            uint lift = byte_lift(0);
            [[dont_unroll]] for (uint j = 0; j < 4; j++) {
                precise float part[SUMS];
                [[unroll]] for (uint side = 0; side < 2; side++) {
                    precise vec4 w[ROWS];
                    [[unroll]] for (uint r = 0; r < ROWS; r++) {
                        w[r] = HAS_TOPS ? top_values(tops[r][side], lift) : unit_values(unit[r], side, lift);
                        if (HAS_MINIMUM)
                            w[r] = fma(w[r], vec4(scale[r].x), vec4(-minimum[r]));
                        else if (WEIGHTS_FIRST)
                            w[r] *= scale[r][side];
                    }
                    [[unroll]] for (uint m = 0; m < COUNT; m++) {
                        vec4 x4 = x[x_at[m] + u * (PHY_UNIT_COLS / 4) + side * 4 + j];
                        [[unroll]] for (uint r = 0; r < ROWS; r++) {
                            uint i = r * COUNT + m;
                            precise float p = w[r].x * x4.x;
                            p = fma(w[r].y, x4.y, p);
                            p = fma(w[r].z, x4.z, p);
                            p = fma(w[r].w, x4.w, p);
                            if (side == 0)
                                part[i] = p;
                            else
                                s[i] += part[i] + p;
                        }
                    }
                }
                lift = next_byte_lift(lift);
            }
            [[unroll]] for (uint i = 0; i < SUMS; i++)
                add_keeping(HAS_SCALE && !WEIGHTS_FIRST ? s[i] * scale[i / COUNT].x : s[i], sum[i], rest[i]);
        }
    }
    store_sums(sum, rest, row, first);
}
