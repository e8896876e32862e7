/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PHY_KERNELS_WALK_FORMS_H
#define PHY_KERNELS_WALK_FORMS_H

#include "kernels/walk.h"

#define PHY_WALK_FORM(form)                                                                                            \
    void phy_walk_dots_##form(const struct phy_walk_matrix *matrix, const uint32_t *features, size_t count,            \
                              const float *x, float *out);                                                             \
    void phy_walk_add_##form(const struct phy_walk_matrix *matrix, const uint32_t *features, const float *a,           \
                             size_t count, size_t col_begin, size_t col_end, float *y);
PHY_WALK_FORM(ref)
PHY_WALK_FORM(avx2)
PHY_WALK_FORM(avx512)
void phy_walk_dots_rows_ref(const struct phy_walk_matrix *matrix, const uint32_t *features, size_t count,
                            const float *x, size_t rows, float *out, size_t stride);
void phy_walk_add_rows_ref(const struct phy_walk_matrix *matrix, const uint32_t *features, const float *a,
                           size_t stride, size_t count, size_t rows, size_t col_begin, size_t col_end, float *y);

#endif
