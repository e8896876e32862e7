/* SPDX-License-Identifier: Apache-2.0 */
#include "kernels/attention_forms.h"
#include "kernels/vec_avx2.h"

enum { TILE_VECS = 2, TILE_COUNT = 6 }; /* 12 sums, 2 vectors, 1 weight of 16 registers */

#include "kernels/attention_simd.h"
