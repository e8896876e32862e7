/* SPDX-License-Identifier: Apache-2.0 */
#include <immintrin.h>

#include "bench/peak.h"

enum { CHAINS = PHY_PEAK_VNNI_PER_ROUND / 64 };

uint32_t phy_peak_multiply_i8_vnni(uint64_t rounds, const int8_t *one)
{
    const __m512i codes = _mm512_loadu_si512(one);
    __m512i sum[CHAINS];
    for (int i = 0; i < CHAINS; i++)
        sum[i] = _mm512_setzero_si512();
    for (uint64_t r = 0; r < rounds; r++) {
        for (int i = 0; i < CHAINS; i++)
            sum[i] = _mm512_dpbusd_epi32(sum[i], codes, codes);
    }
    uint32_t all = 0;
    for (int i = 0; i < CHAINS; i++)
        all += (uint32_t)_mm512_reduce_add_epi32(sum[i]);
    return all;
}
