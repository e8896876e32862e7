/* SPDX-License-Identifier: Apache-2.0 */
#include "kernels/block_matmul_forms.h"
#include "kernels/block_unpack_avx2.h"

enum { UNIT_VECS = 2, TILE_COUNT = 6, CHAIN = 16 }; /* as matmul_avx2.c */

#include "kernels/block_matmul_simd.h"
