/* SPDX-License-Identifier: Apache-2.0 */
#define RANK_FORM phy_rank_rows_avx2
#include "kernels/rank_rows_fast.h"
