/* SPDX-License-Identifier: Apache-2.0 */
#include "kernels/walk.h"

#include "kernels/walk_forms.h"

const struct phy_walk_variant phy_walk_variants[] = {
    {.name = "ref",
     .dots = phy_walk_dots_ref,
     .add = phy_walk_add_ref,
     .dots_rows = phy_walk_dots_rows_ref,
     .add_rows = phy_walk_add_rows_ref},
#if defined(PHY_KERNELS_X86)
    {.name = "avx2", .needs = {.avx2 = true}, .dots = phy_walk_dots_avx2, .add = phy_walk_add_avx2},
    {.name = "avx512",
     .needs = {.avx2 = true, .avx512 = true},
     .dots = phy_walk_dots_avx512,
     .add = phy_walk_add_avx512},
#endif
    {.name = NULL},
};

const struct phy_walk_variant *phy_walk_variant_best(const struct phy_cpu_features *have)
{
    const struct phy_walk_variant *best = &phy_walk_variants[0];
    for (const struct phy_walk_variant *v = phy_walk_variants; v->name; v++) {
        if (phy_cpu_meets(have, &v->needs))
            best = v;
    }
    return best;
}
