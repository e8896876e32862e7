/* SPDX-License-Identifier: Apache-2.0 */
#include "kernels/block_matmul_forms.h"
#include "kernels/block_unpack_avx512.h"

enum { UNIT_VECS = 2, TILE_COUNT = 12 }; /* as matmul_avx512.c */

#include "kernels/block_matmul_simd.h"
