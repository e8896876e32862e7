// SPDX-License-Identifier: Apache-2.0
#version 450
// One invocation owns PHY_ROOFLINE_ITEMS vectors, in a row or a grid's width apart, and one word of the result.
// One workgroup owns what its PHY_ROOFLINE_INVOCATIONS invocations own.
// No barrier: nothing is shared.
// The reference is in tests/parity/test_vk_probe.c: sums of what was written and copied.
#extension GL_GOOGLE_include_directive : require
#include "shared/roofline.h"

layout(local_size_x = PHY_ROOFLINE_INVOCATIONS) in;
layout(constant_id = PHY_ROOFLINE_SPEC_MODE) const uint MODE = 0;
layout(constant_id = PHY_ROOFLINE_SPEC_ROWS) const uint ROWS = 0;

layout(std430, binding = PHY_ROOFLINE_BINDING_FROM) readonly buffer From { uvec4 from[]; };
layout(std430, binding = PHY_ROOFLINE_BINDING_TO) writeonly buffer To { uvec4 to[]; };
layout(std430, binding = PHY_ROOFLINE_BINDING_RESULT) writeonly buffer Result { uint result[]; };
layout(push_constant) uniform Push { PHY_ROOFLINE_PUSH_MEMBERS } push;

void main()
{
    uint me = gl_GlobalInvocationID.x, all = gl_NumWorkGroups.x * PHY_ROOFLINE_INVOCATIONS;
    uint at = ROWS == 1 ? me * PHY_ROOFLINE_ITEMS : me, step = ROWS == 1 ? 1 : all;
    uvec4 seen = uvec4(0);
    for (uint i = 0; i < PHY_ROOFLINE_ITEMS; i++, at += step) {
        if (MODE == 0)
            seen += from[at];
        else
            to[at] = MODE == 1 ? uvec4(push.one) : from[at];
    }
    result[me] = MODE == 0 ? seen.x + seen.y + seen.z + seen.w : 0;
}
