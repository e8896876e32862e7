/* SPDX-License-Identifier: Apache-2.0 */
#include "quant/encode_forms.h"

#include <assert.h>
#include <pthread.h>

#define REF_FORM(name, format) {format, "ref", {.avx2 = false}, phy_encode_##name##_ref},
#if defined(PHY_QUANT_X86)
#define FORMS_OF(name, format)                                                                                         \
    REF_FORM(name, format){format, "avx2", {.avx2 = true}, phy_encode_##name##_avx2},                                  \
        {format, "avx512", {.avx2 = true, .avx512 = true}, phy_encode_##name##_avx512},
#else
#define FORMS_OF(name, format) REF_FORM(name, format)
#endif

const struct phy_encode_variant phy_encode_variants[] = {PHY_ENCODE_FORMATS(FORMS_OF){.format = NULL}};

#define ID_OF(name, format) ENCODE_##name,
enum { PHY_ENCODE_FORMATS(ID_OF) ENCODE_COUNT, FORMS = sizeof phy_encode_variants / sizeof *phy_encode_variants - 1 };
#undef ID_OF
static_assert(FORMS % ENCODE_COUNT == 0, "as many forms of each");

static phy_encode_blocks *chosen[ENCODE_COUNT];

static void choose(void)
{
    const struct phy_cpu_features have = phy_cpu_detect();
    for (int i = 0; i < FORMS; i++) {
        if (phy_cpu_meets(&have, &phy_encode_variants[i].needs))
            chosen[i / (FORMS / ENCODE_COUNT)] = phy_encode_variants[i].encode;
    }
}

static phy_encode_blocks *best(int format)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, choose);
    return chosen[format];
}

#define DISPATCH(name, format)                                                                                         \
    void phy_encode_##name(const float *from, size_t blocks, uint8_t *out)                                             \
    {                                                                                                                  \
        best(ENCODE_##name)(from, blocks, out);                                                                        \
    }
PHY_ENCODE_FORMATS(DISPATCH)
