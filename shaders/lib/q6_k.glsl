// SPDX-License-Identifier: Apache-2.0
// q6_K: six bits less 32 times d * s, s a signed byte for each 16. lib/unit.glsl says what a format defines.
#include "lib/fields.glsl"

// Exact: 11 and 7 significant bits. d is mostly an f16 subnormal; it was widened when the matrix was laid out.
vec2 unit_scales(uvec4 head, float scale, uint n)
{
    uint two = lifted(head[n >> 1], (1u - (n & 1u)) * 16u);
    return scale * signed_top_byte(uvec4(lifted(two, 8), two, 0, 0)).xy;
}

vec4 unit_values(Unit unit, uint side, uint lift)
{
    uvec4 code = byte_to_top(unit.codes[0], lift), high = lifted(byte_to_top(unit.high.xxyy, lift), uvec4(4, 0, 4, 0));
    return field_less_half(high, 4u + 2u * side, 2) * 16.0 + field(code, 4u * side, 4);
}

// Codes less 32 of a side, each in the upper six bits of its byte: a group takes its bytes to the top, then down, as
// signed numbers. Made for 16 columns at once, so it pays where more than one group of a side follows.
uvec4 unit_tops(Unit unit, uint side)
{
    uvec4 high = (unit.high ^ 0xAAAAAAAAu).xxyy << uvec4(6, 2, 6, 2) - 2u * side;
    uvec4 low = side == 0 ? unit.codes[0] << 2 : unit.codes[0] >> 2;
    return high & 0xC0C0C0C0u | low & 0x3C3C3C3Cu;
}

vec4 top_values(uvec4 tops, uint lift)
{
    return vec4(ivec4(tops << lift) >> 26);
}

// Less 32 in each byte: the bit above keeps a borrow from the next.
uvec4 unit_bytes(Unit unit, uint side)
{
    uvec4 high = unit.high.xxyy >> uvec4(0, 4, 0, 4) + 2u * side & 0x03030303u;
    uvec4 code = unit.codes[0] >> 4u * side & 0x0F0F0F0Fu | high << 4;
    return (code | 0x80808080u) - 0x20202020u ^ 0x80808080u;
}
