/* SPDX-License-Identifier: Apache-2.0 */
#include "kernels/activation_forms.h"
#include "kernels/vec_avx2.h"

#include "kernels/activation_simd.h"
