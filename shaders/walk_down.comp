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
        uint some_end = min(some + PHY_WALK_CHAIN, end);
        for (uint i = some; i < some_end; i++) {
            float value = values[push.values_at + i];
            if (value == 0.0)
                continue; // the same for a whole workgroup
            uint row = (list[push.list_at + i] - push.first_row) * PHY_LAYOUT_ROW(TYPE, units, supers);
            Head head = load_head(row, units, u / PHY_SUPER_UNITS);
            Unit unit = load_unit(row, units, u);
            vec2 scales = unit_scales(head.words, head.scale, u % PHY_SUPER_UNITS);
            float minimum = unit_minimum(head.words, u % PHY_SUPER_UNITS);
            [[unroll]] for (uint k = 0; k < 8; k++)
                part[k] = fma(vec4(value), unit_weights(unit, scales, minimum, k / 4, k % 4), part[k]);
        }
        [[unroll]] for (uint i = 0; i < 8; i++)
            add_keeping(part[i], sum[i], rest[i]);
    }
    [[unroll]] for (uint i = 0; i < 8; i++)
        parts[push.parts_at + (gl_WorkGroupID.y * units + u) * 8 + i] = whole_of(sum[i], rest[i]);
}
