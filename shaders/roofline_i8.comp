// SPDX-License-Identifier: Apache-2.0
#version 450
// One invocation owns PHY_ROOFLINE_CHAINS chains and one word of the result: how many multiply-adds it did.
// One workgroup owns what its PHY_ROOFLINE_INVOCATIONS invocations own.
// No barrier: nothing is shared.
// The reference is multiply_i8 in src/bench/peak_ref.c.
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_spirv_intrinsics : require
#include "shared/roofline.h"

// OpSDotKHR of 4 packed bytes: DotProductInput4x8BitPacked, DotProduct.
spirv_instruction(extensions = ["SPV_KHR_integer_dot_product"], capabilities = [6018, 6019], id = 4450)
int dot_packed(int a, int b, spirv_literal int format);

// A chain feeds its sum back, or it would be computed once: the reference for it is in tests/parity/test_vk_probe.c.
#define VALUE ivec4
#define ZERO ivec4(1)
#define ONE(u) ivec4(int(u) * 0x01010101)
#define STEP(acc, one)                                                                                                 \
    acc += ivec4(dot_packed(acc.x, one.x, 0), dot_packed(acc.y, one.y, 0), dot_packed(acc.z, one.z, 0),                \
                 dot_packed(acc.w, one.w, 0))
#define WORD(acc) uint(acc.x + acc.y + acc.z + acc.w)
#include "lib/roofline_chains.glsl"
