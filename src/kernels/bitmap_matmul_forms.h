/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PHY_KERNELS_BITMAP_MATMUL_FORMS_H
#define PHY_KERNELS_BITMAP_MATMUL_FORMS_H

#include "kernels/bitmap_matmul.h"

/* Values of the word in front of its bit v: no chain of additions from one vector to the next. */
static inline size_t phy_bitmap_values_before(uint64_t word, unsigned v)
{
    return v ? (size_t)__builtin_popcountll(word << (PHY_BITMAP_WORD - v)) : 0;
}

#define PHY_BITMAP_FORM(form)                                                                                          \
    void phy_bitmap_matvec_##form(const struct phy_bitmap_product *product, size_t row_begin, size_t row_end);         \
    void phy_bitmap_decode_##form(const struct phy_bitmap *w, size_t row_begin, size_t row_end, float *out);
PHY_BITMAP_FORM(ref)
PHY_BITMAP_FORM(avx2)
PHY_BITMAP_FORM(avx512)

#endif
