// SPDX-License-Identifier: Apache-2.0
#version 450
// One invocation owns one unit of 32 columns of a row of w.
// One workgroup owns PHY_DECODE_INVOCATIONS neighbours of a row.
// No barrier: nothing is shared.
// The reference is phy_weight_decode_row.
#extension GL_EXT_control_flow_attributes : require
#extension GL_GOOGLE_include_directive : require
#include "shared/matmul.h"
#include "weight_rows.glsl"

layout(local_size_x = PHY_DECODE_INVOCATIONS) in;

layout(std430, binding = PHY_MATMUL_BINDING_SCRATCH) writeonly buffer Scratch { vec4 scratch[]; };
layout(push_constant) uniform Push { PHY_DECODE_PUSH_MEMBERS } push;

void main()
{
    uint u = gl_GlobalInvocationID.x, units = push.units, supers = (units + PHY_SUPER_UNITS - 1) / PHY_SUPER_UNITS;
    if (u >= units)
        return;
    uint row = (push.row_begin + gl_WorkGroupID.y) * PHY_LAYOUT_ROW(TYPE, units, supers);
    Head head = load_head(row, units, u / PHY_SUPER_UNITS);
    Unit unit = load_unit(row, units, u);
    vec2 scales = unit_scales(head.words, head.scale, u % PHY_SUPER_UNITS);
    float minimum = unit_minimum(head.words, u % PHY_SUPER_UNITS);
    [[unroll]] for (uint side = 0; side < 2; side++) {
        [[unroll]] for (uint j = 0; j < 4; j++)
            scratch[(gl_WorkGroupID.y * units + u) * 8 + side * 4 + j] = unit_weights(unit, scales, minimum, side, j);
    }
}
