// SPDX-License-Identifier: Apache-2.0
#version 450
// One invocation owns one unit of 32 columns of a row of x.
// One workgroup owns PHY_ROUND_INVOCATIONS neighbours: whole groups of 256 columns.
// One barrier: every unit's peak is there before its group takes the largest.
// The reference is round_row of src/kernels/int8_matmul.h, bit for bit.
#extension GL_EXT_control_flow_attributes : require
#extension GL_GOOGLE_include_directive : require
#include "shared/matmul.h"
#include "lib/divide.glsl"
#include "shared/weight_layout.h"

layout(local_size_x = PHY_ROUND_INVOCATIONS) in;

layout(std430, binding = PHY_MATMUL_BINDING_X) readonly buffer X { vec4 x[]; };
layout(std430, binding = PHY_MATMUL_BINDING_Y) writeonly buffer Rounded { uint rounded[]; };
layout(push_constant) uniform Push { PHY_ROUND_PUSH_MEMBERS } push;

shared float peaks[PHY_ROUND_INVOCATIONS];

const uint LEAST = (127u - 100u) << 23; // 2^-100

void main()
{
    uint u = gl_GlobalInvocationID.x, id = gl_LocalInvocationIndex, units = push.units;
    uint from = push.x_at + gl_WorkGroupID.y * push.x_stride + min(u, units - 1) * 8;
    vec4 values[8];
    float peak = 0;
    [[unroll]] for (uint i = 0; i < 8; i++) {
        values[i] = x[from + i];
        vec4 a = abs(values[i]);
        peak = max(peak, max(max(a.x, a.y), max(a.z, a.w)));
    }
    peaks[id] = u < units ? peak : 0.0;
    barrier(); // the peaks of the whole group are there
    peak = 0;
    for (uint i = 0; i < PHY_SUPER_UNITS; i++)
        peak = max(peak, peaks[id / PHY_SUPER_UNITS * PHY_SUPER_UNITS + i]);
    if (u >= units)
        return;
    uint bits = floatBitsToUint(peak), supers = (units + PHY_SUPER_UNITS - 1) / PHY_SUPER_UNITS;
    bool tiny = bits < LEAST;
    float inverse = tiny ? 0.0 : uintBitsToFloat(of_127_bits(max(bits, LEAST)));
    uint to = push.to_at + gl_WorkGroupID.y * PHY_ROUNDED_ROW(units, supers) * 4;
    [[unroll]] for (uint side = 0; side < 2; side++) {
        uvec4 words = uvec4(0);
        [[unroll]] for (uint j = 0; j < 4; j++) {
            precise vec4 scaled = values[side * 4 + j] * inverse;
            words |= (uvec4(ivec4(roundEven(scaled))) & 0xFFu) << 8 * j;
        }
        [[unroll]] for (uint c = 0; c < 4; c++)
            rounded[to + u * 8 + side * 4 + c] = words[c];
    }
    if (u % PHY_SUPER_UNITS == 0)
        rounded[to + units * 8 + u / PHY_SUPER_UNITS] = tiny ? 0u : over_127_bits(max(bits, LEAST));
}
