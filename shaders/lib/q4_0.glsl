// SPDX-License-Identifier: Apache-2.0
// q4_0: a nibble less 8 times an f16 scale for each 32. lib/unit.glsl says what a format defines.
#include "lib/codes.glsl"

vec2 unit_scales(uvec4 head, float scale, uint n)
{
    return vec2(f16_upper(half_on_top(head, n)));
}

vec4 unit_values(Unit unit, uint side, uint lift)
{
    return field_less_half(byte_to_top(unit.codes[0], lift), 4u * side, 4);
}

// Less 8 in each byte: the bit above keeps a borrow from the next.
uvec4 unit_bytes(Unit unit, uint side)
{
    uvec4 code = unit.codes[0] >> 4u * side & 0x0F0F0F0Fu;
    return (code | 0x80808080u) - 0x08080808u ^ 0x80808080u;
}
