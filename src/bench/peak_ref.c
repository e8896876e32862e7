/* SPDX-License-Identifier: Apache-2.0 */
#include "bench/peak.h"

#include <string.h>

enum { CHAINS = 8 };

static uint64_t read_words(const void *from, size_t bytes)
{
    const uint64_t *words = from;
    uint64_t a = 0, b = 0, c = 0, d = 0;
    for (size_t i = 0; i < bytes / 8; i += 4) {
        a ^= words[i];
        b ^= words[i + 1];
        c ^= words[i + 2];
        d ^= words[i + 3];
    }
    return a ^ b ^ c ^ d;
}

static void write_words(void *to, size_t bytes, uint64_t word, bool stream)
{
    uint64_t *words = to;
    (void)stream;
    for (size_t i = 0; i < bytes / 8; i++)
        words[i] = word;
    __asm__ volatile("" ::: "memory");
}

static void copy_words(void *to, const void *from, size_t bytes, bool stream)
{
    (void)stream;
    memcpy(to, from, bytes);
    __asm__ volatile("" ::: "memory");
}

static double multiply_f32(uint64_t rounds, float one)
{
    float sum[CHAINS] = {0};
    for (uint64_t r = 0; r < rounds; r++) {
        for (int i = 0; i < CHAINS; i++)
            sum[i] = sum[i] * one + one;
    }
    double all = 0;
    for (int i = 0; i < CHAINS; i++)
        all += (double)sum[i];
    return all;
}

/* Normal numbers only, which ones are. */
static float widen(uint16_t code)
{
    uint32_t bits = (uint32_t)(code & 0x8000) << 16 | ((uint32_t)(code & 0x7FFF) + (112u << 10)) << 13;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static double multiply_f16(uint64_t rounds, const uint16_t *one)
{
    const volatile uint16_t *codes = one;
    float sum[CHAINS] = {0};
    for (uint64_t r = 0; r < rounds; r++) {
        for (int i = 0; i < CHAINS; i++)
            sum[i] += widen(codes[i]);
    }
    double all = 0;
    for (int i = 0; i < CHAINS; i++)
        all += (double)sum[i];
    return all;
}

static uint32_t multiply_i8(uint64_t rounds, const int8_t *one)
{
    const volatile int8_t *codes = one;
    uint32_t sum[CHAINS] = {0};
    for (uint64_t r = 0; r < rounds; r++) {
        for (int i = 0; i < CHAINS; i++)
            sum[i] += (uint32_t)(codes[i] * codes[i + CHAINS]);
    }
    uint32_t all = 0;
    for (int i = 0; i < CHAINS; i++)
        all += sum[i];
    return all;
}

const struct phy_peak_variant phy_peak_ref = {
    .name = "ref",
    .read = read_words,
    .write = write_words,
    .copy = copy_words,
    .multiply_f32 = multiply_f32,
    .multiply_f16 = multiply_f16,
    .multiply_i8 = multiply_i8,
    .f32_per_round = CHAINS,
    .f16_per_round = CHAINS,
    .i8_per_round = CHAINS,
};
