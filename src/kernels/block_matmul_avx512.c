/* SPDX-License-Identifier: Apache-2.0 */
#include "kernels/block_matmul_forms.h"
#include "kernels/block_unpack_avx512.h"

/* As matmul_avx512.c, but for the chain: block_dots_simd.h says why. */
enum { UNIT_VECS = 3, TILE_COUNT = 4, CHAIN = 4 };

#define TURNED 1
#include "kernels/block_matmul_simd.h"
