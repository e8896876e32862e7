/* SPDX-License-Identifier: Apache-2.0 */
#include "kernels/activation.h"

#include <string.h>

#include "kernels/activation_forms.h"

#define FUNCTIONS(form)                                                                                                \
    .gate = phy_gate_##form, .log_sum = phy_log_sum_##form, .kl = phy_kl_##form, .norm = phy_norm_##form,              \
    .rotate = phy_rotate_##form

const struct phy_activation_variant phy_activation_variants[] = {
    {.name = "ref", FUNCTIONS(ref)},
#if defined(PHY_KERNELS_X86)
    {.name = "avx2", .needs = {.avx2 = true}, FUNCTIONS(avx2)},
    {.name = "avx512", .needs = {.avx2 = true, .avx512 = true}, FUNCTIONS(avx512)},
#endif
    {.name = NULL},
};

const struct phy_activation_variant *phy_activation_variant_named(const char *name)
{
    for (const struct phy_activation_variant *v = phy_activation_variants; v->name; v++) {
        if (strcmp(v->name, name) == 0)
            return v;
    }
    return NULL;
}
