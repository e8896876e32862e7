/* SPDX-License-Identifier: Apache-2.0 */
#include "kernels/matmul_forms.h"
#include "kernels/vec_avx512.h"

enum { UNIT_VECS = 2, TILE_COUNT = 12 }; /* 24 sums, 2 weights, 1 activation of 32 registers */

#include "kernels/matmul_simd.h"
