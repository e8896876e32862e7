/* SPDX-License-Identifier: Apache-2.0 */
#include <immintrin.h>

#include "bench/peak.h"

/* Two units of four cycles want eight chains; two more cover a unit that waits. */
enum { CHAINS = 10, LANES = 8 };

static uint64_t read_words(const void *from, size_t bytes)
{
    const __m256i *v = from;
    __m256i x[8];
    for (int i = 0; i < 8; i++)
        x[i] = _mm256_setzero_si256();
    for (size_t k = 0; k < bytes / 32; k += 8) {
        for (int i = 0; i < 8; i++)
            x[i] = _mm256_xor_si256(x[i], _mm256_load_si256(v + k + (size_t)i));
    }
    for (int i = 1; i < 8; i++)
        x[0] = _mm256_xor_si256(x[0], x[i]);
    uint64_t words[4];
    _mm256_storeu_si256((__m256i *)words, x[0]);
    return words[0] ^ words[1] ^ words[2] ^ words[3];
}

static void write_words(void *to, size_t bytes, uint64_t word, bool stream)
{
    __m256i *v = to, x = _mm256_set1_epi64x((long long)word);
    for (size_t k = 0; k < bytes / 32 && stream; k++)
        _mm256_stream_si256(v + k, x);
    for (size_t k = 0; k < bytes / 32 && !stream; k++)
        _mm256_store_si256(v + k, x);
    _mm_sfence();
}

static void copy_words(void *to, const void *from, size_t bytes, bool stream)
{
    __m256i *v = to;
    const __m256i *w = from;
    for (size_t k = 0; k < bytes / 32 && stream; k++)
        _mm256_stream_si256(v + k, _mm256_load_si256(w + k));
    for (size_t k = 0; k < bytes / 32 && !stream; k++)
        _mm256_store_si256(v + k, _mm256_load_si256(w + k));
    _mm_sfence();
}

static double sum_of(const __m256 *sum)
{
    double all = 0;
    for (int i = 0; i < CHAINS; i++) {
        float lanes[LANES];
        _mm256_storeu_ps(lanes, sum[i]);
        for (int n = 0; n < LANES; n++)
            all += (double)lanes[n];
    }
    return all;
}

static double multiply_f32(uint64_t rounds, float one)
{
    const __m256 ones = _mm256_set1_ps(one);
    __m256 sum[CHAINS];
    for (int i = 0; i < CHAINS; i++)
        sum[i] = _mm256_setzero_ps();
    for (uint64_t r = 0; r < rounds; r++) {
        for (int i = 0; i < CHAINS; i++)
            sum[i] = _mm256_fmadd_ps(sum[i], ones, ones);
    }
    return sum_of(sum);
}

static double multiply_f16(uint64_t rounds, const uint16_t *one)
{
    const __m256 ones = _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)one));
    __m256 sum[CHAINS];
    for (int i = 0; i < CHAINS; i++)
        sum[i] = _mm256_setzero_ps();
    for (uint64_t r = 0; r < rounds; r++) {
        for (int i = 0; i < CHAINS; i++) {
            __m128i codes = _mm_loadu_si128((const __m128i *)one);
            __asm__("" : "+x"(codes)); /* or it is widened once, before the loop */
            sum[i] = _mm256_fmadd_ps(_mm256_cvtph_ps(codes), ones, sum[i]);
        }
    }
    return sum_of(sum);
}

static uint32_t multiply_i8(uint64_t rounds, const int8_t *one)
{
    const __m256i codes = _mm256_loadu_si256((const __m256i *)one), pairs = _mm256_set1_epi16(1);
    __m256i sum[CHAINS];
    for (int i = 0; i < CHAINS; i++)
        sum[i] = _mm256_setzero_si256();
    for (uint64_t r = 0; r < rounds; r++) {
        for (int i = 0; i < CHAINS; i++) {
            __m256i x = codes;
            __asm__("" : "+x"(x));
            sum[i] = _mm256_add_epi32(sum[i], _mm256_madd_epi16(_mm256_maddubs_epi16(x, codes), pairs));
        }
    }
    uint32_t all = 0;
    for (int i = 0; i < CHAINS; i++) {
        uint32_t lanes[LANES];
        _mm256_storeu_si256((__m256i *)lanes, sum[i]);
        for (int n = 0; n < LANES; n++)
            all += lanes[n];
    }
    return all;
}

const struct phy_peak_variant phy_peak_avx2 = {
    .name = "avx2",
    .needs = {.avx2 = true},
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
