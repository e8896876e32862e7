/* SPDX-License-Identifier: Apache-2.0 */
#include "kernels/rank_rows.h"

#include <string.h>

#include "kernels/rank_rows_forms.h"

const struct phy_rank_variant phy_rank_variants[] = {
    {.name = "ref", .run = phy_rank_rows_ref},
#if defined(PHY_KERNELS_X86)
    {.name = "avx2", .needs = {.avx2 = true}, .run = phy_rank_rows_avx2},
    {.name = "avx512", .needs = {.avx2 = true, .avx512 = true}, .run = phy_rank_rows_avx512},
#endif
    {.name = NULL},
};

const struct phy_rank_variant *phy_rank_variant_named(const char *name)
{
    for (const struct phy_rank_variant *v = phy_rank_variants; v->name; v++) {
        if (strcmp(v->name, name) == 0)
            return v;
    }
    return NULL;
}

/* Limited by memory: each form would do the same. */
void phy_rank_add_columns(uint64_t *bins, const void *codes, enum phy_float_type type, size_t rows, size_t cols)
{
    for (size_t i = 0; i < rows; i++) {
        for (size_t j = 0; j < cols; j++) {
            uint32_t bits = phy_flow_magnitude_bits(codes, type, i * cols + j);
            if (bits >= 0x00800000u && bits < PHY_FLOW_FOOD_LIMIT_BITS)
                phy_rank_add(bins + j, cols, bits);
        }
    }
}

void phy_rank_fold_columns(uint64_t *bins, size_t cols)
{
    for (size_t j = 0; j < cols; j++)
        phy_rank_fold(bins + j, cols);
}

void phy_rank_invert_columns(const uint64_t *bins, size_t cols, float *inverse)
{
    for (size_t j = 0; j < cols; j++)
        inverse[j] = phy_rank_inverse(bins + j, cols);
}
