// SPDX-License-Identifier: Apache-2.0
#version 450
// One invocation owns one column of the result: the sum of its segments, in their order.
// One workgroup owns PHY_WALK_INVOCATIONS neighbours.
// No barrier: nothing is shared.
// The reference is the sum in float64.
#extension GL_GOOGLE_include_directive : require
#include "lib/sums.glsl"
#include "shared/matmul.h"

layout(local_size_x = PHY_WALK_INVOCATIONS) in;

layout(std430, binding = PHY_MATMUL_BINDING_Y) buffer Activations { float values[]; };
layout(push_constant) uniform Push { PHY_WALK_SUM_PUSH_MEMBERS } push;

void main()
{
    uint column = gl_GlobalInvocationID.x;
    if (column >= push.cols)
        return;
    precise float sum = 0, rest = 0;
    for (uint i = 0; i < push.segments; i++)
        add_keeping(values[push.parts_at + i * push.stride + column], sum, rest);
    values[push.y_at + column] = whole_of(sum, rest);
}
