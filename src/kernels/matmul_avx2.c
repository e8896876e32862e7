/* SPDX-License-Identifier: Apache-2.0 */
#include "kernels/matmul_forms.h"
#include "kernels/vec_avx2.h"

enum { UNIT_VECS = 2, TILE_COUNT = 6 }; /* 12 sums, 2 weights, 1 activation of 16 registers */

#include "kernels/matmul_simd.h"
