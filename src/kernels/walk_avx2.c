/* SPDX-License-Identifier: Apache-2.0 */
#include "kernels/block_unpack_avx2.h"
#include "kernels/walk_forms.h"
#include "kernels/walk_simd.h"
