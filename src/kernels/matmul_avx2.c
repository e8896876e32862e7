/* SPDX-License-Identifier: Apache-2.0 */
#include "kernels/matmul_forms.h"
#include "kernels/vec_avx2.h"

/* 12 chains, 2 weights, 1 activation of 16 registers; a longer chain, as the sums are in memory */
enum { UNIT_VECS = 2, TILE_COUNT = 6, CHAIN = 16 };

#define TURNED 0 /* no registers to spare for rows of x */
#include "kernels/matmul_simd.h"
