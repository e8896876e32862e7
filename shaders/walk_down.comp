// SPDX-License-Identifier: Apache-2.0
#version 450
// One invocation owns one unit of 32 columns of the sum over one segment of the list, for PHY_WALK_ROWS rows of x.
// One workgroup owns PHY_WALK_INVOCATIONS neighbours of a segment.
// No barrier: nothing is shared; walk_sum.comp adds the segments up.
// The reference is the sum in float64 over phy_weight_decode_row.
//
// A segment's features are added in the order of the list, and the segments too: no order depends on the device.
#extension GL_EXT_control_flow_attributes : require
#extension GL_GOOGLE_include_directive : require
#include "shared/matmul.h"
#include "weight_rows.glsl"
#include "lib/sums.glsl"

layout(local_size_x = PHY_WALK_INVOCATIONS) in;

layout(std430, binding = PHY_MATMUL_BINDING_X) readonly buffer List { uint list[]; };
layout(std430, binding = PHY_MATMUL_BINDING_X) readonly buffer Values { float values[]; };
layout(std430, binding = PHY_MATMUL_BINDING_Y) writeonly buffer Parts { vec4 parts[]; };
layout(push_constant) uniform Push { PHY_WALK_PUSH_MEMBERS } push;

// Rows of x that an unpacked weight serves: the sums of each are what one row alone would have.
const uint ROWS = PHY_WALK_ROWS;
// Features whose rows are unpacked side by side, so that sums stay in registers for as many products.
const uint TOGETHER = PHY_WALK_TOGETHER;

void main()
{
    uint u = gl_GlobalInvocationID.x, units = push.units, supers = (units + PHY_SUPER_UNITS - 1) / PHY_SUPER_UNITS;
    if (u >= units)
        return;
    uint begin = push.list_begin + gl_WorkGroupID.y * PHY_WALK_SEGMENT, end = min(begin + PHY_WALK_SEGMENT, push.list_end);
    uint values_at[ROWS]; // a row that is not there is computed as the last, and dropped
    [[unroll]] for (uint r = 0; r < ROWS; r++)
        values_at[r] = push.values_at + (ROWS == 1 ? 0 : min(r, push.rows - 1) * push.values_stride);
    precise vec4 sum[ROWS * 8], rest[ROWS * 8];
    [[unroll]] for (uint i = 0; i < ROWS * 8; i++)
        sum[i] = rest[i] = vec4(0);
    for (uint some = begin; some < end; some += PHY_WALK_CHAIN) {
        precise vec4 part[ROWS * 8];
        [[unroll]] for (uint i = 0; i < ROWS * 8; i++)
            part[i] = vec4(0);
        for (uint i = some; i < min(some + PHY_WALK_CHAIN, end); i += TOGETHER) {
            float value[ROWS * TOGETHER];
            bool counts[TOGETHER];
            uint that_counts = end;
            [[unroll]] for (uint n = 0; n < TOGETHER; n++) {
                counts[n] = false;
                [[unroll]] for (uint r = 0; r < ROWS; r++) {
                    value[r * TOGETHER + n] = i + n < end ? values[values_at[r] + min(i + n, end - 1)] : 0.0;
                    counts[n] = counts[n] || value[r * TOGETHER + n] != 0.0;
                }
                that_counts = counts[n] ? i + n : that_counts;
            }
            if (that_counts == end)
                continue; // the same for a whole workgroup
            Unit unit[TOGETHER];
            vec2 scales[TOGETHER];
            float minimum[TOGETHER];
            [[unroll]] for (uint n = 0; n < TOGETHER; n++) {
                uint at = counts[n] ? i + n : that_counts; // of what is skipped nothing is read
                uint row = (list[push.list_at + at] - push.first_row) * PHY_LAYOUT_ROW(TYPE, units, supers);
                Head head = load_head(row, units, u / PHY_SUPER_UNITS);
                unit[n] = load_unit(row, units, u);
                scales[n] = unit_scales(head.words, head.scale, u % PHY_SUPER_UNITS);
                minimum[n] = unit_minimum(head.words, u % PHY_SUPER_UNITS);
            }
            [[unroll]] for (uint k = 0; k < 8; k++) {
                [[unroll]] for (uint n = 0; n < TOGETHER; n++) {
                    precise vec4 w = unit_weights(unit[n], scales[n], minimum[n], k / 4, k % 4);
                    [[unroll]] for (uint r = 0; r < ROWS; r++)
                        part[r * 8 + k] = fma(vec4(value[r * TOGETHER + n]), w, part[r * 8 + k]);
                }
            }
        }
        [[unroll]] for (uint i = 0; i < ROWS * 8; i++)
            add_keeping(part[i], sum[i], rest[i]);
    }
    [[unroll]] for (uint r = 0; r < ROWS; r++) {
        uint at = push.parts_at + (gl_WorkGroupID.y * units + u) * 8 + (ROWS == 1 ? 0 : r * push.parts_stride);
        [[unroll]] for (uint k = 0; k < 8; k++) {
            if (ROWS == 1 || r < push.rows)
                parts[at + k] = whole_of(sum[r * 8 + k], rest[r * 8 + k]);
        }
    }
}
