/* SPDX-License-Identifier: Apache-2.0 */
#include "kernels/block_matmul_forms.h"
#include "kernels/block_unpack_avx2.h"

/* As matmul_avx2.c, but for the chain: block_dots_simd.h says why. */
enum { UNIT_VECS = 2, TILE_COUNT = 6, CHAIN = 4 };

#define TURNED 0 /* no registers to spare for rows of x */
#include "kernels/block_matmul_simd.h"
