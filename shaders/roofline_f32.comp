// SPDX-License-Identifier: Apache-2.0
#version 450
// One invocation owns PHY_ROOFLINE_CHAINS chains and one word of the result: how many multiply-adds it did.
// One workgroup owns what its PHY_ROOFLINE_INVOCATIONS invocations own.
// No barrier: nothing is shared.
// The reference is multiply_f32 in src/bench/peak_ref.c.
#extension GL_GOOGLE_include_directive : require
#include "shared/roofline.h"

#define VALUE vec4
#define ZERO vec4(0.0)
#define ONE(u) vec4(float(u))
#define STEP(acc, one) acc = fma(acc, one, one)
#define WORD(acc) uint(acc.x + acc.y + acc.z + acc.w)
#include "lib/roofline_chains.glsl"
