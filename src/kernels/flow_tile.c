/* SPDX-License-Identifier: Apache-2.0 */
#include "kernels/flow_tile.h"

#include <string.h>

#include "kernels/flow_tile_forms.h"

const struct phy_flow_variant phy_flow_variants[] = {
    {.name = "ref", .run = phy_flow_tile_ref},
#if defined(PHY_KERNELS_X86)
    {.name = "avx2", .needs = {.avx2 = true}, .run = phy_flow_tile_avx2},
    {.name = "avx512", .needs = {.avx2 = true, .avx512 = true}, .run = phy_flow_tile_avx512},
#endif
    {.name = NULL},
};

const struct phy_flow_variant *phy_flow_variant_best(const struct phy_cpu_features *have)
{
    const struct phy_flow_variant *best = &phy_flow_variants[0];
    for (const struct phy_flow_variant *v = phy_flow_variants; v->name; v++) {
        if (phy_cpu_meets(have, &v->needs))
            best = v;
    }
    return best;
}

const struct phy_flow_variant *phy_flow_variant_named(const char *name)
{
    for (const struct phy_flow_variant *v = phy_flow_variants; v->name; v++) {
        if (strcmp(v->name, name) == 0)
            return v;
    }
    return NULL;
}

bool phy_flow_tile_find_refused(const struct phy_flow_tile *tile, uint32_t *row, uint32_t *col)
{
    for (uint32_t r = 0; r < tile->rows; r++) {
        for (uint32_t c = 0; c < tile->cols; c++) {
            float scale = tile->column_scale ? tile->column_scale[c] : 1.0f;
            if (phy_flow_food_bits(tile, r, c, scale) >= PHY_FLOW_FOOD_LIMIT_BITS) {
                *row = r;
                *col = c;
                return true;
            }
        }
    }
    return false;
}
