/* SPDX-License-Identifier: Apache-2.0 */
/* The bodies of the vector forms: each file gives vec_words, vec_float, vec_halves, MM(operation), CHAINS and LANES,
 * and the names that differ in more than a prefix. Meant to be included once by each. */
#ifndef PHY_BENCH_PEAK_SIMD_H
#define PHY_BENCH_PEAK_SIMD_H

enum { BEYOND_L2 = 4 << 20, ASKS = 4, ASK_BYTES = 4096 };

static uint64_t read_words(const void *from, size_t bytes)
{
    const vec_words *v = from;
    vec_words x[8];
    for (int i = 0; i < 8; i++)
        x[i] = ZERO_WORDS();
    /* Beyond the caches lines are asked for ahead, more than once: too many at once are forgotten. */
    const size_t asks = bytes > BEYOND_L2 ? ASKS : 0;
    for (size_t k = 0; k < bytes / sizeof(vec_words); k += 8) {
        for (size_t ahead = 1; ahead <= asks; ahead++) {
            for (size_t b = 0; b < 8 * sizeof(vec_words); b += 64)
                __builtin_prefetch((const void *)((uintptr_t)(v + k) + ahead * ASK_BYTES + b), 0, 2);
        }
        for (int i = 0; i < 8; i++)
            x[i] = XOR_WORDS(x[i], LOAD_WORDS(v + k + (size_t)i));
    }
    for (int i = 1; i < 8; i++)
        x[0] = XOR_WORDS(x[0], x[i]);
    uint64_t words[sizeof(vec_words) / 8], all = 0;
    STOREU_WORDS((vec_words *)words, x[0]);
    for (size_t i = 0; i < sizeof(vec_words) / 8; i++)
        all ^= words[i];
    return all;
}

static void write_words(void *to, size_t bytes, uint64_t word, bool stream)
{
    vec_words *v = to, x = SET1_64((long long)word);
    for (size_t k = 0; k < bytes / sizeof(vec_words) && stream; k++)
        STREAM_WORDS(v + k, x);
    for (size_t k = 0; k < bytes / sizeof(vec_words) && !stream; k++)
        STORE_WORDS(v + k, x);
    _mm_sfence();
}

static void copy_words(void *to, const void *from, size_t bytes, bool stream)
{
    vec_words *v = to;
    const vec_words *w = from;
    for (size_t k = 0; k < bytes / sizeof(vec_words) && stream; k++)
        STREAM_WORDS(v + k, LOAD_WORDS(w + k));
    for (size_t k = 0; k < bytes / sizeof(vec_words) && !stream; k++)
        STORE_WORDS(v + k, LOAD_WORDS(w + k));
    _mm_sfence();
}

static double sum_of(const vec_float *sum)
{
    double all = 0;
    for (int i = 0; i < CHAINS; i++) {
        float lanes[LANES];
        MM(storeu_ps)(lanes, sum[i]);
        for (int n = 0; n < LANES; n++)
            all += (double)lanes[n];
    }
    return all;
}

static double multiply_f32(uint64_t rounds, float one)
{
    const vec_float ones = MM(set1_ps)(one);
    vec_float sum[CHAINS];
    for (int i = 0; i < CHAINS; i++)
        sum[i] = MM(setzero_ps)();
    for (uint64_t r = 0; r < rounds; r++) {
        for (int i = 0; i < CHAINS; i++)
            sum[i] = MM(fmadd_ps)(sum[i], ones, ones);
    }
    return sum_of(sum);
}

static double multiply_f16(uint64_t rounds, const uint16_t *one)
{
    const vec_float ones = MM(cvtph_ps)(LOAD_HALVES(one));
    vec_float sum[CHAINS];
    for (int i = 0; i < CHAINS; i++)
        sum[i] = MM(setzero_ps)();
    for (uint64_t r = 0; r < rounds; r++) {
        for (int i = 0; i < CHAINS; i++) {
            vec_halves codes = LOAD_HALVES(one);
            __asm__("" : "+" VEC_CONSTRAINT(codes)); /* or it is widened once, before the loop */
            sum[i] = MM(fmadd_ps)(MM(cvtph_ps)(codes), ones, sum[i]);
        }
    }
    return sum_of(sum);
}

static uint32_t multiply_i8(uint64_t rounds, const int8_t *one)
{
    const vec_words codes = LOADU_WORDS((const vec_words *)one), pairs = MM(set1_epi16)(1);
    vec_words sum[CHAINS];
    for (int i = 0; i < CHAINS; i++)
        sum[i] = ZERO_WORDS();
    for (uint64_t r = 0; r < rounds; r++) {
        for (int i = 0; i < CHAINS; i++) {
            vec_words x = codes;
            __asm__("" : "+" VEC_CONSTRAINT(x));
            sum[i] = MM(add_epi32)(sum[i], MM(madd_epi16)(MM(maddubs_epi16)(x, codes), pairs));
        }
    }
    uint32_t all = 0;
    for (int i = 0; i < CHAINS; i++) {
        uint32_t lanes[LANES];
        STOREU_WORDS((vec_words *)lanes, sum[i]);
        for (int n = 0; n < LANES; n++)
            all += lanes[n];
    }
    return all;
}

#endif
