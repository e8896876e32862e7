/* SPDX-License-Identifier: Apache-2.0 */
#include "bench/peak.h"

#include <pthread.h>
#include <string.h>

#ifdef PHY_BENCH_X86
static struct phy_peak_variant avx512_vnni;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void find_vnni(void)
{
    avx512_vnni = phy_peak_avx512;
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512vnni")) {
        avx512_vnni.multiply_i8 = phy_peak_multiply_i8_vnni;
        avx512_vnni.i8_per_round = PHY_PEAK_VNNI_PER_ROUND;
    }
}
#endif

const struct phy_peak_variant *phy_peak_variant_named(const char *name)
{
    if (strcmp(name, "ref") == 0)
        return &phy_peak_ref;
#ifdef PHY_BENCH_X86
    if (strcmp(name, "avx2") == 0)
        return &phy_peak_avx2;
    if (strcmp(name, "avx512") == 0) {
        pthread_once(&once, find_vnni);
        return &avx512_vnni;
    }
#endif
    return NULL;
}
