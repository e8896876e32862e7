// SPDX-License-Identifier: Apache-2.0
// Unpacking of the format PHY_MATMUL_TYPE, as the device layout of shared/weight_layout.h holds it. A format's file
// defines, for 32 columns of a row, of which 16 side + 4j + c is component c of group j = 0..3 of side 0 or 1:
//
//   vec4 unit_values(Unit, side, lift)    codes as exact floats, group j by byte_lift(j) of lib/fields.glsl
//   vec2 unit_scales(head, scale, n)      of the two sides of unit n of its 8
//   float unit_minimum(head, n)           q4_K: what is taken off
//   void open_head(head, scale)           q4_K: what its 8 units share, done once
//   uvec4 unit_bytes(Unit, side)          q8_0, q4_0, q4_K, q6_K: the integers of a side, as four signed bytes in a
//                                         word: byte j of word c
//
// Floats define unit_group(Unit, side, j). A weight is unit_values * scale, less the minimum: as docs/quant.md decodes it,
// bit for bit where the device keeps subnormals.
#ifndef PHY_LIB_UNIT_GLSL
#define PHY_LIB_UNIT_GLSL
#include "shared/weight_layout.h"

const uint TYPE = PHY_MATMUL_TYPE;
const bool HAS_SCALE = TYPE > PHY_LAYOUT_F32, HAS_MINIMUM = TYPE == PHY_LAYOUT_Q4_K, TWO_SCALES = TYPE == PHY_LAYOUT_Q6_K;
// code * scale is rounded, where other formats' is exact: of a scale that is a sixth of something.
const bool ROUNDS_WEIGHTS = TYPE == PHY_LAYOUT_FP4;
const uint CODES = PHY_LAYOUT_CODES(TYPE);

struct Unit {
    uvec4 codes[CODES];
    uvec2 high; // q6_K
};

#if PHY_MATMUL_TYPE <= PHY_LAYOUT_F32
#include "lib/floats.glsl"
#elif PHY_MATMUL_TYPE == PHY_LAYOUT_Q8_0
#include "lib/q8_0.glsl"
#elif PHY_MATMUL_TYPE == PHY_LAYOUT_Q4_0
#include "lib/q4_0.glsl"
#elif PHY_MATMUL_TYPE == PHY_LAYOUT_Q4_K
#include "lib/q4_k.glsl"
#elif PHY_MATMUL_TYPE == PHY_LAYOUT_Q6_K
#include "lib/q6_k.glsl"
#elif PHY_MATMUL_TYPE == PHY_LAYOUT_FP8
#include "lib/fp8.glsl"
#elif PHY_MATMUL_TYPE == PHY_LAYOUT_FP4
#include "lib/fp4.glsl"
#elif PHY_MATMUL_TYPE == PHY_LAYOUT_MXFP4
#include "lib/mxfp4.glsl"
#endif

#if PHY_MATMUL_TYPE != PHY_LAYOUT_Q4_K
float unit_minimum(uvec4 head, uint n)
{
    return 0.0;
}

void open_head(inout uvec4 head, inout float scale)
{
}
#endif

// q6_K: codes are put together for a side, then taken by groups.
const bool HAS_TOPS = TYPE == PHY_LAYOUT_Q6_K && !WITHOUT_SHIFTS;
#if PHY_MATMUL_TYPE != PHY_LAYOUT_Q6_K
uvec4 unit_tops(Unit unit, uint side)
{
    return uvec4(0);
}

vec4 top_values(uvec4 tops, uint lift)
{
    return vec4(0);
}
#endif

// The weights themselves, by unit_scales and unit_minimum.
vec4 unit_weights(Unit unit, vec2 scales, float minimum, uint side, uint j)
{
#if PHY_MATMUL_TYPE <= PHY_LAYOUT_F32
    precise vec4 w = unit_group(unit, side, j);
#else
    precise vec4 w = unit_values(unit, side, byte_lift(j));
#endif
    if (HAS_MINIMUM) // the product is exact: 17 and 4 significant bits
        w = fma(w, vec4(scales[side]), vec4(-minimum));
    else if (HAS_SCALE)
        w *= scales[side];
    return w;
}

#endif
