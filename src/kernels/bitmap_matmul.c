/* SPDX-License-Identifier: Apache-2.0 */
#include "kernels/bitmap_matmul.h"

#include "kernels/bitmap_matmul_forms.h"

const struct phy_bitmap_variant phy_bitmap_variants[] = {
    {.name = "ref", .matvec = phy_bitmap_matvec_ref, .decode = phy_bitmap_decode_ref},
#if defined(PHY_KERNELS_X86)
    {.name = "avx2", .needs = {.avx2 = true}, .matvec = phy_bitmap_matvec_avx2, .decode = phy_bitmap_decode_avx2},
    {.name = "avx512",
     .needs = {.avx2 = true, .avx512 = true},
     .matvec = phy_bitmap_matvec_avx512,
     .decode = phy_bitmap_decode_avx512},
#endif
    {.name = NULL},
};

const struct phy_bitmap_variant *phy_bitmap_variant_best(const struct phy_cpu_features *have)
{
    const struct phy_bitmap_variant *best = &phy_bitmap_variants[0];
    for (const struct phy_bitmap_variant *v = phy_bitmap_variants; v->name; v++) {
        if (phy_cpu_meets(have, &v->needs))
            best = v;
    }
    return best;
}
