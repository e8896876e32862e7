/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PHY_KERNELS_ATTENTION_FORMS_H
#define PHY_KERNELS_ATTENTION_FORMS_H

#include "kernels/attention.h"

#define PHY_ATTENTION_FORM(form)                                                                                       \
    void phy_attention_##form(const struct phy_attention *attention);                                                  \
    void phy_attention_rows_##form(const struct phy_attention_rows *attention);
PHY_ATTENTION_FORM(ref)
PHY_ATTENTION_FORM(avx2)
PHY_ATTENTION_FORM(avx512)

#endif
