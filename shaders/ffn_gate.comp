// SPDX-License-Identifier: Apache-2.0
#version 450
// One invocation owns one element of the result.
// One workgroup owns PHY_FFN_GATE_INVOCATIONS neighbours in a row.
// No barrier: nothing is shared.
// The reference is phy_gate_ref in src/kernels/activation_ref.c. Each intermediate value is a float32 and what it lacks, so
// that the result is rounded once, as the reference's: the error of a layer is that of its sums.
#extension GL_GOOGLE_include_directive : require
#include "lib/exp.glsl"
#include "lib/sums.glsl"
#include "shared/matmul.h"

layout(local_size_x = PHY_FFN_GATE_INVOCATIONS) in;

layout(std430, binding = PHY_MATMUL_BINDING_Y) buffer Activations { float values[]; };
layout(push_constant) uniform Push { PHY_FFN_GATE_PUSH_MEMBERS } push;

const uint SILU = 0;

// 2 sqrt(2/pi) (x + 0.044715 x^3) and what that lacks, since e^t is off by t times the relative error of t.
vec2 gelu_exponent(float x)
{
    const float linear = 1.5957691669464111, linear_rest = -4.53e-8;
    const float cubic = 0.07135481387376785, cubic_rest = 2.4e-9;
    x = clamp(x, -100.0, 100.0); // beyond, e^-t is held in exp_exact, and these would overflow
    precise float square = x * x;
    precise float factor = square * cubic;
    precise float sum = linear + factor;
    precise float t = x * sum;
    precise float rest = lost_by_adding(linear, factor, sum) + linear_rest +
                         (lost_by_multiplying(square, cubic, factor) + cubic * lost_by_multiplying(x, x, square)) +
                         square * cubic_rest;
    return vec2(t, lost_by_multiplying(x, sum, t) + x * rest);
}

// act(x) and what it lacks, x / (1 + e^-t): tanh-GELU is SiLU but for t. The device divides to 2.5 units in the last place.
vec2 activate(float x)
{
    vec2 t = push.activation == SILU ? vec2(x, 0) : gelu_exponent(x);
    vec2 e = exp_exact(-t.x, -t.y);
    precise float d = 1.0 + e.x;
    precise float d_rest = lost_by_adding(1.0, e.x, d) + e.y;
    precise float act = x / d;
    precise float product = act * d;
    precise float left = ((x - product) - lost_by_multiplying(act, d, product)) - act * d_rest;
    return vec2(act, left / d);
}

void main()
{
    uint column = gl_GlobalInvocationID.x, row = gl_WorkGroupID.y;
    if (column >= push.out_stride)
        return;
    uint at = row * push.in_stride + min(column, push.width - 1) * push.step;
    vec2 act = activate(values[push.gate_at + at]);
    float up = values[push.up_at + at];
    precise float gated = act.x * up;
    precise float rest = lost_by_multiplying(act.x, up, gated) + act.y * up;
    gated = whole_of(gated, rest);
    values[push.out_at + row * push.out_stride + column] = column < push.width ? gated : 0.0;
}
