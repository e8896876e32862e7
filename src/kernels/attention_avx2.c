/* SPDX-License-Identifier: Apache-2.0 */
#include "kernels/attention_forms.h"
#include "kernels/vec_avx2.h"

#include "kernels/attention_simd.h"
