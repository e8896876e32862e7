/* SPDX-License-Identifier: Apache-2.0 */
#include <immintrin.h>

#include "bench/peak.h"

/* Two units of four cycles want eight chains; more cover a unit that waits, and there are registers for them. */
enum { CHAINS = 12, LANES = 16 };

static uint64_t read_words(const void *from, size_t bytes)
{
    const __m512i *v = from;
    __m512i x[8];
    for (int i = 0; i < 8; i++)
        x[i] = _mm512_setzero_si512();
    for (size_t k = 0; k < bytes / 64; k += 8) {
        for (int i = 0; i < 8; i++)
            x[i] = _mm512_xor_si512(x[i], _mm512_load_si512(v + k + (size_t)i));
    }
    for (int i = 1; i < 8; i++)
        x[0] = _mm512_xor_si512(x[0], x[i]);
    uint64_t words[8];
    _mm512_storeu_si512((__m512i *)words, x[0]);
    return words[0] ^ words[1] ^ words[2] ^ words[3] ^ words[4] ^ words[5] ^ words[6] ^ words[7];
}

static void write_words(void *to, size_t bytes, uint64_t word, bool stream)
{
    __m512i *v = to, x = _mm512_set1_epi64((long long)word);
    for (size_t k = 0; k < bytes / 64 && stream; k++)
        _mm512_stream_si512(v + k, x);
    for (size_t k = 0; k < bytes / 64 && !stream; k++)
        _mm512_store_si512(v + k, x);
    _mm_sfence();
}

static void copy_words(void *to, const void *from, size_t bytes, bool stream)
{
    __m512i *v = to;
    const __m512i *w = from;
    for (size_t k = 0; k < bytes / 64 && stream; k++)
        _mm512_stream_si512(v + k, _mm512_load_si512(w + k));
    for (size_t k = 0; k < bytes / 64 && !stream; k++)
        _mm512_store_si512(v + k, _mm512_load_si512(w + k));
    _mm_sfence();
}

static double sum_of(const __m512 *sum)
{
    double all = 0;
    for (int i = 0; i < CHAINS; i++) {
        float lanes[LANES];
        _mm512_storeu_ps(lanes, sum[i]);
        for (int n = 0; n < LANES; n++)
            all += (double)lanes[n];
    }
    return all;
}

static double multiply_f32(uint64_t rounds, float one)
{
    const __m512 ones = _mm512_set1_ps(one);
    __m512 sum[CHAINS];
    for (int i = 0; i < CHAINS; i++)
        sum[i] = _mm512_setzero_ps();
    for (uint64_t r = 0; r < rounds; r++) {
        for (int i = 0; i < CHAINS; i++)
            sum[i] = _mm512_fmadd_ps(sum[i], ones, ones);
    }
    return sum_of(sum);
}

static double multiply_f16(uint64_t rounds, const uint16_t *one)
{
    const __m512 ones = _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)one));
    __m512 sum[CHAINS];
    for (int i = 0; i < CHAINS; i++)
        sum[i] = _mm512_setzero_ps();
    for (uint64_t r = 0; r < rounds; r++) {
        for (int i = 0; i < CHAINS; i++) {
            __m256i codes = _mm256_loadu_si256((const __m256i *)one);
            __asm__("" : "+v"(codes)); /* or it is widened once, before the loop */
            sum[i] = _mm512_fmadd_ps(_mm512_cvtph_ps(codes), ones, sum[i]);
        }
    }
    return sum_of(sum);
}

static uint32_t multiply_i8(uint64_t rounds, const int8_t *one)
{
    const __m512i codes = _mm512_loadu_si512((const __m512i *)one), pairs = _mm512_set1_epi16(1);
    __m512i sum[CHAINS];
    for (int i = 0; i < CHAINS; i++)
        sum[i] = _mm512_setzero_si512();
    for (uint64_t r = 0; r < rounds; r++) {
        for (int i = 0; i < CHAINS; i++) {
            __m512i x = codes;
            __asm__("" : "+v"(x));
            sum[i] = _mm512_add_epi32(sum[i], _mm512_madd_epi16(_mm512_maddubs_epi16(x, codes), pairs));
        }
    }
    uint32_t all = 0;
    for (int i = 0; i < CHAINS; i++) {
        uint32_t lanes[LANES];
        _mm512_storeu_si512((__m512i *)lanes, sum[i]);
        for (int n = 0; n < LANES; n++)
            all += lanes[n];
    }
    return all;
}

const struct phy_peak_variant phy_peak_avx512 = {
    .name = "avx512",
    .needs = {.avx2 = true, .avx512 = true},
    .read = read_words,
    .write = write_words,
    .copy = copy_words,
    .multiply_f32 = multiply_f32,
    .multiply_f16 = multiply_f16,
    .multiply_i8 = multiply_i8,
    .f32_per_round = CHAINS * LANES,
    .f16_per_round = CHAINS * LANES,
    .i8_per_round = CHAINS * 4 * LANES,
};
