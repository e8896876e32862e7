/* SPDX-License-Identifier: Apache-2.0 */
#include "quant/lanes_avx512.h"

#include "quant/encode_q2_k.h"
