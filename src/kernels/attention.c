/* SPDX-License-Identifier: Apache-2.0 */
#include "kernels/attention.h"

#include <string.h>

#include "kernels/attention_forms.h"

const struct phy_attention_variant phy_attention_variants[] = {
    {.name = "ref", .run = phy_attention_ref, .run_rows = phy_attention_rows_ref},
#if defined(PHY_KERNELS_X86)
    {.name = "avx2", .needs = {.avx2 = true}, .run = phy_attention_avx2, .run_rows = phy_attention_rows_avx2},
    {.name = "avx512",
     .needs = {.avx2 = true, .avx512 = true},
     .run = phy_attention_avx512,
     .run_rows = phy_attention_rows_avx512},
#endif
    {.name = NULL},
};

const struct phy_attention_variant *phy_attention_variant_named(const char *name)
{
    for (const struct phy_attention_variant *v = phy_attention_variants; v->name; v++) {
        if (strcmp(v->name, name) == 0)
            return v;
    }
    return NULL;
}
