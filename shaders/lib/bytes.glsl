// SPDX-License-Identifier: Apache-2.0
// Byte j of each of four words, signed.
#ifndef PHY_LIB_BYTES_GLSL
#define PHY_LIB_BYTES_GLSL

ivec4 signed_bytes(uvec4 words, uint j)
{
    return ivec4(words << 24u - 8u * j) >> 24;
}

#endif
