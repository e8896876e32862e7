/* SPDX-License-Identifier: Apache-2.0 */
#include "quant/lanes_ref.h"

#include "quant/encode_q2_k.h"
