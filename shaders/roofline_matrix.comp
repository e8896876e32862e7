// SPDX-License-Identifier: Apache-2.0
#version 450
// One invocation owns, with its subgroup, PHY_ROOFLINE_CHAINS matrices of sums and, alone, one word of the result: how many
// multiply-adds of the last round its elements had, if that was an odd one, else 0.
// One workgroup owns what its PHY_ROOFLINE_INVOCATIONS invocations own.
// One barrier: every one is in shared memory before matrices are loaded from there.
// The reference is multiply_f16 in src/bench/peak_ref.c: to 1 and back.
#extension GL_EXT_control_flow_attributes : require
#extension GL_EXT_shader_explicit_arithmetic_types_float16 : require
#extension GL_GOOGLE_include_directive : require
#extension GL_KHR_cooperative_matrix : require
#extension GL_KHR_memory_scope_semantics : require
#include "shared/roofline.h"

layout(local_size_x = PHY_ROOFLINE_INVOCATIONS) in;
layout(constant_id = PHY_ROOFLINE_SPEC_M) const uint M = 16;
layout(constant_id = PHY_ROOFLINE_SPEC_N) const uint N = 16;
layout(constant_id = PHY_ROOFLINE_SPEC_K) const uint K = 16;

layout(std430, binding = PHY_ROOFLINE_BINDING_RESULT) writeonly buffer Result { uint result[]; };
layout(push_constant) uniform Push { PHY_ROOFLINE_PUSH_MEMBERS } push;

const uint WORDS = K * (M > N ? M : N) / 2;
shared uint ones[WORDS];

void main()
{
    for (uint i = gl_LocalInvocationIndex; i < WORDS; i += PHY_ROOFLINE_INVOCATIONS)
        ones[i] = packHalf2x16(vec2(float(push.one)));
    barrier(); // the ones are there
    // Loaded, or a compiler takes all elements for one.
    coopmat<float16_t, gl_ScopeSubgroup, M, K, gl_MatrixUseA> a;
    coopmat<float16_t, gl_ScopeSubgroup, K, N, gl_MatrixUseB> b;
    coopMatLoad(a, ones, 0, K / 2, gl_CooperativeMatrixLayoutRowMajor);
    coopMatLoad(b, ones, 0, N / 2, gl_CooperativeMatrixLayoutRowMajor);
    coopmat<float, gl_ScopeSubgroup, M, N, gl_MatrixUseAccumulator> sums[PHY_ROOFLINE_CHAINS];
    [[unroll]] for (uint c = 0; c < PHY_ROOFLINE_CHAINS; c++)
        sums[c] = coopmat<float, gl_ScopeSubgroup, M, N, gl_MatrixUseAccumulator>(0.0);
    for (uint i = 0; i < push.rounds; i++) {
        [[unroll]] for (uint c = 0; c < PHY_ROOFLINE_CHAINS; c++)
            sums[c] = coopMatMulAdd(a, b, sums[c]);
        a = -a; // or a compiler multiplies once and then only adds
    }
    uint word = 0;
    [[unroll]] for (uint c = 0; c < PHY_ROOFLINE_CHAINS; c++) {
        for (uint e = 0; e < sums[c].length(); e++)
            word += uint(sums[c][e]);
    }
    result[gl_GlobalInvocationID.x] = word;
}
