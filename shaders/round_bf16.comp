// SPDX-License-Identifier: Apache-2.0
#version 450
// One invocation owns one unit of 32 columns of a row of x.
// One workgroup owns PHY_ROUND_INVOCATIONS neighbours.
// No barrier: nothing is shared.
// The reference is round_row of src/kernels/bf16_matmul.c, bit for bit.
#extension GL_EXT_control_flow_attributes : require
#extension GL_GOOGLE_include_directive : require
#include "lib/bf16.glsl"
#include "shared/matmul.h"

layout(local_size_x = PHY_ROUND_INVOCATIONS) in;

layout(std430, binding = PHY_MATMUL_BINDING_X) readonly buffer X { vec4 x[]; };
layout(std430, binding = PHY_MATMUL_BINDING_Y) writeonly buffer Rounded { vec4 rounded[]; };
layout(push_constant) uniform Push { PHY_ROUND_PUSH_MEMBERS } push;

void main()
{
    uint u = gl_GlobalInvocationID.x;
    if (u >= push.units)
        return;
    uint from = push.x_at + gl_WorkGroupID.y * push.x_stride + u * 8;
    uint to = push.to_at / 4 + gl_WorkGroupID.y * push.units * 8 + u * 8;
    [[unroll]] for (uint i = 0; i < 8; i++)
        rounded[to + i] = rounded_to_bf16(x[from + i]);
}
