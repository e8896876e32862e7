// SPDX-License-Identifier: Apache-2.0
#version 450
// One invocation owns one unit of 32 columns of the sum over one segment of the list.
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

// Features whose rows are unpacked side by side, so that sums stay in registers for as many products.
const uint TOGETHER = 4;

void main()
{
    uint u = gl_GlobalInvocationID.x, units = push.units, supers = (units + PHY_SUPER_UNITS - 1) / PHY_SUPER_UNITS;
    if (u >= units)
        return;
    uint begin = push.list_begin + gl_WorkGroupID.y * PHY_WALK_SEGMENT, end = min(begin + PHY_WALK_SEGMENT, push.list_end);
    precise vec4 sum[8], rest[8];
    [[unroll]] for (uint i = 0; i < 8; i++)
        sum[i] = rest[i] = vec4(0);
    for (uint some = begin; some < end; some += PHY_WALK_CHAIN) {
        precise vec4 part[8];
        [[unroll]] for (uint i = 0; i < 8; i++)
            part[i] = vec4(0);
        for (uint i = some; i < min(some + PHY_WALK_CHAIN, end); i += TOGETHER) {
            float value[TOGETHER];
            uint that_counts = end;
            [[unroll]] for (uint n = 0; n < TOGETHER; n++) {
                value[n] = i + n < end ? values[push.values_at + min(i + n, end - 1)] : 0.0;
                that_counts = value[n] != 0.0 ? i + n : that_counts;
            }
            if (that_counts == end)
                continue; // the same for a whole workgroup
            Unit unit[TOGETHER];
            vec2 scales[TOGETHER];
            float minimum[TOGETHER];
            [[unroll]] for (uint n = 0; n < TOGETHER; n++) {
                uint at = value[n] != 0.0 ? i + n : that_counts; // of what is skipped nothing is read
                uint row = (list[push.list_at + at] - push.first_row) * PHY_LAYOUT_ROW(TYPE, units, supers);
                Head head = load_head(row, units, u / PHY_SUPER_UNITS);
                unit[n] = load_unit(row, units, u);
                scales[n] = unit_scales(head.words, head.scale, u % PHY_SUPER_UNITS);
                minimum[n] = unit_minimum(head.words, u % PHY_SUPER_UNITS);
            }
            [[unroll]] for (uint k = 0; k < 8; k++) {
                [[unroll]] for (uint n = 0; n < TOGETHER; n++)
                    part[k] = fma(vec4(value[n]), unit_weights(unit[n], scales[n], minimum[n], k / 4, k % 4), part[k]);
            }
        }
        [[unroll]] for (uint i = 0; i < 8; i++)
            add_keeping(part[i], sum[i], rest[i]);
    }
    [[unroll]] for (uint i = 0; i < 8; i++)
        parts[push.parts_at + (gl_WorkGroupID.y * units + u) * 8 + i] = whole_of(sum[i], rest[i]);
}
