/* SPDX-License-Identifier: Apache-2.0 */
#include <immintrin.h>

#include "bench/peak.h"

enum { CHAINS = PHY_PEAK_BF16_PER_ROUND / 32 };

double phy_peak_multiply_bf16(uint64_t rounds, float one)
{
    const __m512bh codes = _mm512_cvtne2ps_pbh(_mm512_set1_ps(one), _mm512_set1_ps(one));
    __m512 sum[CHAINS];
    for (int i = 0; i < CHAINS; i++)
        sum[i] = _mm512_setzero_ps();
    for (uint64_t r = 0; r < rounds; r++) {
        for (int i = 0; i < CHAINS; i++)
            sum[i] = _mm512_dpbf16_ps(sum[i], codes, codes);
    }
    double all = 0;
    for (int i = 0; i < CHAINS; i++)
        all += (double)_mm512_reduce_add_ps(sum[i]);
    return all;
}
