// SPDX-License-Identifier: Apache-2.0
#version 450
// One invocation owns one element of the result.
// One workgroup owns PHY_FFN_GATE_INVOCATIONS neighbours in a row.
// No barrier: nothing is shared.
// The reference is phy_gate_ref in src/kernels/activation_ref.c.
#extension GL_GOOGLE_include_directive : require
#include "lib/exp.glsl"
#include "shared/matmul.h"

layout(local_size_x = PHY_FFN_GATE_INVOCATIONS) in;

layout(std430, binding = PHY_MATMUL_BINDING_Y) buffer Activations { float values[]; };
layout(push_constant) uniform Push { PHY_FFN_GATE_PUSH_MEMBERS } push;

const uint SILU = 0;

// x / (1 + e^-t): tanh-GELU is the same with t = 2 sqrt(2/pi) (x + 0.044715 x^3).
float activate(float x)
{
    float t = push.activation == SILU ? x : 1.5957691216 * (x + 0.044715 * x * x * x);
    return x / (1.0 + exp_exact(-t));
}

void main()
{
    uint column = gl_GlobalInvocationID.x, row = gl_WorkGroupID.y;
    if (column >= push.out_stride)
        return;
    uint at = row * push.in_stride + min(column, push.width - 1) * push.step;
    float gated = activate(values[push.gate_at + at]) * values[push.up_at + at];
    values[push.out_at + row * push.out_stride + column] = column < push.width ? gated : 0.0;
}
