/* SPDX-License-Identifier: Apache-2.0 */
#include "kernels/block_matmul.h"

#include "kernels/block_matmul_forms.h"

const struct phy_block_matmul_variant phy_block_matmul_variants[] = {
    {.name = "ref",
     .matvec = phy_block_matvec_ref,
     .matmul = phy_block_matmul_ref,
     .row_unit = 1,
     .decode = phy_block_decode_ref},
#if defined(PHY_KERNELS_X86)
    {.name = "avx2",
     .needs = {.avx2 = true},
     .matvec = phy_block_matvec_avx2,
     .matmul = phy_block_matmul_avx2,
     .row_unit = 16,
     .decode = phy_block_decode_avx2},
    {.name = "avx512",
     .needs = {.avx2 = true, .avx512 = true},
     .matvec = phy_block_matvec_avx512,
     .matmul = phy_block_matmul_avx512,
     .row_unit = 32,
     .decode = phy_block_decode_avx512},
#endif
    {.name = NULL},
};

const struct phy_block_matmul_variant *phy_block_matmul_variant_best(const struct phy_cpu_features *have)
{
    const struct phy_block_matmul_variant *best = &phy_block_matmul_variants[0];
    for (const struct phy_block_matmul_variant *v = phy_block_matmul_variants; v->name; v++) {
        if (phy_cpu_meets(have, &v->needs))
            best = v;
    }
    return best;
}
