/* SPDX-License-Identifier: Apache-2.0 */
#include "kernels/walk.h"

#include "kernels/walk_forms.h"

const struct phy_walk_variant phy_walk_variants[] = {
    {.name = "ref", .dots = phy_walk_dots_ref, .add = phy_walk_add_ref},
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
