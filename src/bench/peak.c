/* SPDX-License-Identifier: Apache-2.0 */
#include "bench/peak.h"

#include <pthread.h>
#include <string.h>

#ifdef PHY_BENCH_X86
static struct phy_peak_variant avx512;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void find_more(void)
{
    const struct phy_cpu_features have = phy_cpu_detect();
    avx512 = phy_peak_avx512;
    if (have.avx512_vnni) {
        avx512.multiply_i8 = phy_peak_multiply_i8_vnni;
        avx512.i8_per_round = PHY_PEAK_VNNI_PER_ROUND;
    }
    if (have.avx512_bf16) {
        avx512.multiply_bf16 = phy_peak_multiply_bf16;
        avx512.bf16_per_round = PHY_PEAK_BF16_PER_ROUND;
    }
#ifdef PHY_BENCH_AMX
    if (have.amx_int8) {
        avx512.multiply_i8 = phy_peak_multiply_i8_amx;
        avx512.i8_per_round = PHY_PEAK_AMX_I8_PER_ROUND;
    }
    if (have.amx_bf16) {
        avx512.multiply_bf16 = phy_peak_multiply_bf16_amx;
        avx512.bf16_per_round = PHY_PEAK_AMX_BF16_PER_ROUND;
    }
#endif
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
        pthread_once(&once, find_more);
        return &avx512;
    }
#endif
    return NULL;
}
