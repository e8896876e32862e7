/* SPDX-License-Identifier: Apache-2.0 */
#include "kernels/block_matmul_forms.h"
#include "kernels/block_unpack_avx512.h"

enum { UNIT_VECS = 3, TILE_COUNT = 4, CHAIN = 8 }; /* as matmul_avx512.c */

#include "kernels/block_matmul_simd.h"
