/* SPDX-License-Identifier: Apache-2.0 */
/* What the roofline shaders and src/vk/vk_probe.c agree on; included by both. */
#ifndef PHY_SHADERS_SHARED_ROOFLINE_H
#define PHY_SHADERS_SHARED_ROOFLINE_H

#ifdef PHY_GLSL
#define PHY_UINT uint
#else
#include <assert.h>
#include <stdint.h>
#define PHY_UINT uint32_t
#endif

#define PHY_ROOFLINE_INVOCATIONS 128
#define PHY_ROOFLINE_ITEMS 64 /* vectors of 16 bytes that an invocation moves */
#define PHY_ROOFLINE_CHAINS 8 /* independent chains of multiply-adds of an invocation, of vectors of 4 */

/* Specialisation constants of roofline_memory.comp; ROWS: an invocation's vectors lie, 0, as far apart as there are
 * invocations, 1, in a row. */
#define PHY_ROOFLINE_SPEC_MODE 0 /* 0 read, 1 write, 2 copy */
#define PHY_ROOFLINE_SPEC_ROWS 1
/* Of roofline_matrix.comp: its matrices are M x K and K x N. */
#define PHY_ROOFLINE_SPEC_M 2
#define PHY_ROOFLINE_SPEC_N 3
#define PHY_ROOFLINE_SPEC_K 4
#define PHY_ROOFLINE_SPEC_COUNT 5

#define PHY_ROOFLINE_BINDING_FROM 0   /* uvec4 */
#define PHY_ROOFLINE_BINDING_TO 1     /* uvec4 */
#define PHY_ROOFLINE_BINDING_RESULT 2 /* a word for each invocation */
#define PHY_ROOFLINE_BINDINGS 3

#define PHY_ROOFLINE_PUSH_MEMBERS                                                                                      \
    PHY_UINT rounds; /* of arithmetic */                                                                               \
    PHY_UINT one;    /* 1, which the compiler must not know; what write writes */

#ifndef PHY_GLSL
struct phy_roofline_push {
    PHY_ROOFLINE_PUSH_MEMBERS
};
static_assert(sizeof(struct phy_roofline_push) == 8, "the shader's block has no padding");
#endif

#endif
