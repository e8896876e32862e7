// SPDX-License-Identifier: Apache-2.0
// q6_K: six bits less 32 times d * s, s a signed byte for each 16. lib/unit.glsl says what a format defines.

// Exact: 11 and 7 significant bits. d is mostly an f16 subnormal; it was widened when the matrix was laid out.
vec2 unit_scales(uvec4 head, float scale, uint n)
{
    int two = int(head[n >> 1] << (1u - (n & 1u)) * 16u);
    return scale * vec2(ivec2(two << 8, two) >> 24);
}

ivec4 unit_integers(Unit unit, uint side, uint j)
{
    uvec4 high = unit.high.xxyy >> uvec4(0, 4, 0, 4) + (8u * j + 2u * side) & 3u;
    return ivec4(unit.codes[0] >> 8u * j + 4u * side & 15u | high << 4) - 32;
}

// Less 32 in each byte: the bit above keeps a borrow from the next.
uvec4 unit_bytes(Unit unit, uint side)
{
    uvec4 high = unit.high.xxyy >> uvec4(0, 4, 0, 4) + 2u * side & 0x03030303u;
    uvec4 code = unit.codes[0] >> 4u * side & 0x0F0F0F0Fu | high << 4;
    return (code | 0x80808080u) - 0x20202020u ^ 0x80808080u;
}
