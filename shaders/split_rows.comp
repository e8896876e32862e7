// SPDX-License-Identifier: Apache-2.0
#version 450
// One invocation owns every PHY_SPLIT_INVOCATIONS-th unit of 32 columns of a row.
// One workgroup owns a row: of w, in any format, or (PHY_SPLIT_X) of x.
// One barrier: every invocation's peak is there before the row's is taken.
// The reference of what matmul_matrix.comp makes of it is src/kernels/matmul_ref.c.
//
// Rows as matrices of binary16 multiply them: a value times a power of two of its row, as the sum of PIECES binary16
// numbers: two hold 23 significant bits, one what has no more than 11. The row's largest becomes 2^14 to 2^15, so that
// what lies 2^39 below it is lost, and no sum of products overflows a float. One piece of x is one that was rounded to
// bf16.
#extension GL_EXT_control_flow_attributes : require
#extension GL_GOOGLE_include_directive : require
#include "lib/bf16.glsl"
#include "shared/matmul.h"
#ifndef PHY_SPLIT_X
#include "weight_rows.glsl"
#endif

layout(local_size_x = PHY_SPLIT_INVOCATIONS) in;

#ifdef PHY_SPLIT_X
layout(std430, binding = PHY_MATMUL_BINDING_X) readonly buffer X { vec4 x[]; };
layout(std430, binding = PHY_MATMUL_BINDING_Y) writeonly buffer To { uvec4 to[]; };
layout(std430, binding = PHY_MATMUL_BINDING_Y) writeonly buffer Exponents { int exponents[]; };
#else
layout(std430, binding = PHY_MATMUL_BINDING_SCRATCH) writeonly buffer To { uvec4 to[]; };
layout(std430, binding = PHY_MATMUL_BINDING_SCRATCH) writeonly buffer Exponents { int exponents[]; };
#endif
layout(push_constant) uniform Push { PHY_SPLIT_PUSH_MEMBERS } push;

shared uint peaks[PHY_SPLIT_INVOCATIONS];

// Unit u of the row: column 4i + c is values[i][c].
void load_values(uint u, out vec4 values[8])
{
#ifdef PHY_SPLIT_X
    uint from = push.x_at + (push.row_begin + gl_WorkGroupID.x) * push.x_stride + u * 8;
    [[unroll]] for (uint i = 0; i < 8; i++)
        values[i] = push.pieces == 1 ? rounded_to_bf16(x[from + i]) : x[from + i];
#else
    uint units = push.units, supers = (units + PHY_SUPER_UNITS - 1) / PHY_SUPER_UNITS;
    uint row = (push.row_begin + gl_WorkGroupID.x) * PHY_LAYOUT_ROW(TYPE, units, supers);
    Head head = load_head(row, units, u / PHY_SUPER_UNITS);
    Unit unit = load_unit(row, units, u);
    vec2 scales = unit_scales(head.words, head.scale, u % PHY_SUPER_UNITS);
    float minimum = unit_minimum(head.words, u % PHY_SUPER_UNITS);
    [[unroll]] for (uint i = 0; i < 8; i++)
        values[i] = unit_weights(unit, scales, minimum, i / 4, i % 4);
#endif
}

// To 11 significant bits, ties away from zero.
vec4 rounded_to_half(vec4 value)
{
    return uintBitsToFloat(floatBitsToUint(value) + 0x1000u & 0xFFFFE000u);
}

uvec2 halves(vec4 value)
{
    return uvec2(packHalf2x16(value.xy), packHalf2x16(value.zw));
}

void main()
{
    uint id = gl_LocalInvocationIndex, peak = 0;
    vec4 values[8];
    for (uint u = id; u < push.units; u += PHY_SPLIT_INVOCATIONS) {
        load_values(u, values);
        [[unroll]] for (uint i = 0; i < 8; i++) {
            uvec4 bits = floatBitsToUint(values[i]) & 0x7FFFFFFFu;
            peak = max(peak, max(max(bits.x, bits.y), max(bits.z, bits.w)));
        }
    }
    peaks[id] = peak;
    barrier(); // the peaks of the whole row are there
    for (uint i = 0; i < PHY_SPLIT_INVOCATIONS; i++)
        peak = max(peak, peaks[i]);
    uint exponent = clamp(peak >> 23, 15u, 254u); // both factors are normal
    float factor = uintBitsToFloat(268u - exponent << 23);
    uint row_words = push.units * 4 * push.pieces, at = push.to_at + gl_WorkGroupID.x * row_words;
    for (uint u = id; u < push.units; u += PHY_SPLIT_INVOCATIONS) {
        load_values(u, values);
        vec4 low[8];
        [[unroll]] for (uint i = 0; i < 8; i++) {
            precise vec4 scaled = values[i] * factor;
            bvec4 finite = lessThan(abs(scaled), vec4(65504.0));
            vec4 high = mix(scaled, rounded_to_half(scaled), finite);
            precise vec4 rest = scaled - high;
            low[i] = mix(vec4(0.0), rounded_to_half(rest), finite);
            values[i] = high;
        }
        [[unroll]] for (uint i = 0; i < 4; i++)
            to[at + u * 4 * push.pieces + i] = uvec4(halves(values[2 * i]), halves(values[2 * i + 1]));
        for (uint i = 0; i < 4 && push.pieces > 1; i++)
            to[at + u * 8 + 4 + i] = uvec4(halves(low[2 * i]), halves(low[2 * i + 1]));
    }
    if (id == 0)
        exponents[push.exponents_at + gl_WorkGroupID.x] = int(exponent) - 141;
}
