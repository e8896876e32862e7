/* SPDX-License-Identifier: Apache-2.0 */
#include "kernels/matmul.h"

#include <string.h>

#include "kernels/matmul_forms.h"

const struct phy_matmul_variant phy_matmul_variants[] = {
    {.name = "ref", .matvec = phy_matvec_ref, .matmul = phy_matmul_ref, .row_unit = 1},
#if defined(PHY_KERNELS_X86)
    {.name = "avx2", .needs = {.avx2 = true}, .matvec = phy_matvec_avx2, .matmul = phy_matmul_avx2, .row_unit = 16},
    {.name = "avx512",
     .needs = {.avx2 = true, .avx512 = true},
     .matvec = phy_matvec_avx512,
     .matmul = phy_matmul_avx512,
     .turn_rows = phy_turn_rows_avx512,
     .row_unit = 32},
#endif
    {.name = NULL},
};

const struct phy_matmul_variant *phy_matmul_variant_best(const struct phy_cpu_features *have)
{
    const struct phy_matmul_variant *best = &phy_matmul_variants[0];
    for (const struct phy_matmul_variant *v = phy_matmul_variants; v->name; v++) {
        if (phy_cpu_meets(have, &v->needs))
            best = v;
    }
    return best;
}

const struct phy_matmul_variant *phy_matmul_variant_named(const char *name)
{
    for (const struct phy_matmul_variant *v = phy_matmul_variants; v->name; v++) {
        if (strcmp(v->name, name) == 0)
            return v;
    }
    return NULL;
}
