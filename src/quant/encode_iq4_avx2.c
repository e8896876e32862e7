/* SPDX-License-Identifier: Apache-2.0 */
#include "quant/lanes_avx2.h"

#include "quant/encode_iq4.h"
