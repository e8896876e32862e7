/* SPDX-License-Identifier: Apache-2.0 */
#include "kernels/attention_forms.h"
#include "kernels/vec_avx512.h"

enum { TILE_VECS = 4, TILE_COUNT = 6 }; /* 24 sums, 4 vectors, 1 weight of 32 registers */

#include "kernels/attention_simd.h"
