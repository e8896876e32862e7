// SPDX-License-Identifier: Apache-2.0
#version 450
// One invocation owns one set of operands and its outcomes.
// One workgroup owns 128 of them, which any device runs.
// No barrier: nothing is shared.
// The reference is phy_flow_self_test_outcomes in src/kernels/flow_self_test.c.
#extension GL_GOOGLE_include_directive : require
#include "shared/flow_tile.h"

layout(local_size_x = PHY_SELF_TEST_INVOCATIONS) in;

layout(std430, binding = PHY_FLOW_BINDING_CODES) readonly buffer Operands { uint operands[]; };
layout(std430, binding = PHY_FLOW_BINDING_MASKS) writeonly buffer Outcomes { uint outcomes[]; };

void main()
{
    uint from = gl_GlobalInvocationID.x * PHY_SELF_TEST_OPERAND_WORDS;
    uint to = gl_GlobalInvocationID.x * PHY_SELF_TEST_OUTCOME_WORDS;
    float a = uintBitsToFloat(operands[from]), b = uintBitsToFloat(operands[from + 1]);
    float c = uintBitsToFloat(operands[from + 2]), x = uintBitsToFloat(operands[from + 3]);
    uint u = operands[from + 4];
    precise float sum = a + b, difference = a - b, product = a * b;
    precise float mul_add = a * b + c, mul_sub = c - a * b;
    outcomes[to] = floatBitsToUint(sum);
    outcomes[to + 1] = floatBitsToUint(difference);
    outcomes[to + 2] = floatBitsToUint(product);
    outcomes[to + 3] = floatBitsToUint(mul_add);
    outcomes[to + 4] = floatBitsToUint(mul_sub);
    outcomes[to + 5] = uint(int(x));        // as flow_tile.comp converts: below 2^31 both are the same, and this is
    outcomes[to + 6] = floatBitsToUint(float(int(u))); // one instruction where the unsigned one is many
}
