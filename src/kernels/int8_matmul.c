/* SPDX-License-Identifier: Apache-2.0 */
#include "kernels/int8_matmul.h"

#include "kernels/int8_matmul_forms.h"

const struct phy_int8_matmul_variant phy_int8_matmul_variants[] = {
    {.name = "ref",
     .round_row = phy_int8_round_row_ref,
     .matvec = phy_int8_matvec_ref,
     .matmul = phy_int8_matmul_ref,
     .row_unit = 1,
     .matvec_count = PHY_MATVEC_MAX_COUNT},
#if defined(PHY_KERNELS_X86)
    {.name = "avx2",
     .needs = {.avx2 = true},
     .round_row = phy_int8_round_row_avx2,
     .matvec = phy_int8_matvec_avx2,
     .matmul = phy_int8_matmul_avx2,
     .row_unit = 1,
     .matvec_count = PHY_MATVEC_MAX_COUNT},
    {.name = "avx512vnni",
     .needs = {.avx2 = true, .avx512 = true, .avx512_vnni = true},
     .round_row = phy_int8_round_row_avx512vnni,
     .matvec = phy_int8_matvec_avx512vnni,
     .matmul = phy_int8_matmul_avx512vnni,
     .row_unit = 32,
     .matvec_count = 3},
#endif
#if defined(PHY_KERNELS_AMX)
    {.name = "avx512amx",
     .needs = {.avx2 = true, .avx512 = true, .avx512_vnni = true, .amx_int8 = true},
     .round_row = phy_int8_round_row_avx512vnni,
     .matvec = phy_int8_matvec_avx512vnni,
     .matmul = phy_int8_matmul_avx512amx,
     .row_unit = 32,
     .matvec_count = 3},
#endif
    {.name = NULL},
};

bool phy_int8_offers(enum phy_weight_type type)
{
    return type == PHY_WEIGHT_Q8_0 || type == PHY_WEIGHT_Q4_K || type == PHY_WEIGHT_Q6_K;
}

const struct phy_int8_matmul_variant *phy_int8_matmul_variant_best(const struct phy_cpu_features *have)
{
    const struct phy_int8_matmul_variant *best = &phy_int8_matmul_variants[0];
    for (const struct phy_int8_matmul_variant *v = phy_int8_matmul_variants; v->name; v++) {
        if (phy_cpu_meets(have, &v->needs))
            best = v;
    }
    return best;
}
