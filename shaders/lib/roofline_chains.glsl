// SPDX-License-Identifier: Apache-2.0
// Chains of multiply-adds in registers: VALUE is the vector, ZERO and ONE(u) make it of words, STEP(acc, one) is one
// multiply-add of each component, WORD(acc) is the sum of its components as a word.
layout(local_size_x = PHY_ROOFLINE_INVOCATIONS) in;

layout(std430, binding = PHY_ROOFLINE_BINDING_RESULT) writeonly buffer Result { uint result[]; };
layout(push_constant) uniform Push { PHY_ROOFLINE_PUSH_MEMBERS } push;

void main()
{
    VALUE one = ONE(push.one);
    VALUE a = ZERO, b = ZERO, c = ZERO, d = ZERO, e = ZERO, f = ZERO, g = ZERO, h = ZERO;
    for (uint i = 0; i < push.rounds; i++) {
        STEP(a, one);
        STEP(b, one);
        STEP(c, one);
        STEP(d, one);
        STEP(e, one);
        STEP(f, one);
        STEP(g, one);
        STEP(h, one);
    }
    result[gl_GlobalInvocationID.x] = WORD(a) + WORD(b) + WORD(c) + WORD(d) + WORD(e) + WORD(f) + WORD(g) + WORD(h);
}
