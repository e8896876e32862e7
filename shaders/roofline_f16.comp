// SPDX-License-Identifier: Apache-2.0
#version 450
// One invocation owns PHY_ROOFLINE_CHAINS chains and one word of the result: how many multiply-adds it did.
// One workgroup owns what its PHY_ROOFLINE_INVOCATIONS invocations own.
// No barrier: nothing is shared.
// The reference is multiply_f16 in src/bench/peak_ref.c.
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_shader_explicit_arithmetic_types_float16 : require
#include "shared/roofline.h"

// f16 holds no long count: a chain goes from 0 to 1 and back.
#define VALUE f16vec4
#define ZERO f16vec4(0.0)
#define ONE(u) f16vec4(float16_t(u))
#define STEP(acc, one) acc = fma(acc, -one, one)
#define WORD(acc) uint(acc.x + acc.y + acc.z + acc.w)
#include "lib/roofline_chains.glsl"
