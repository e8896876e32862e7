/* SPDX-License-Identifier: Apache-2.0 */
#include "kernels/matmul_forms.h"
#include "kernels/vec_avx512.h"

/* 12 chains, 12 sums, 3 weights, 1 activation of 32 registers */
enum { UNIT_VECS = 3, TILE_COUNT = 4, CHAIN = 8 };

#define TURNED 1
#include "kernels/matmul_simd.h"
