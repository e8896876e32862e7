/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PHY_KERNELS_ATTENTION_FORMS_H
#define PHY_KERNELS_ATTENTION_FORMS_H

#include "kernels/attention.h"

void phy_attention_ref(const struct phy_attention *attention);
void phy_attention_avx2(const struct phy_attention *attention);
void phy_attention_avx512(const struct phy_attention *attention);

#endif
