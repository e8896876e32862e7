/* SPDX-License-Identifier: Apache-2.0 */
/* Kernels that do one thing as fast as this processor can, for the rooflines: read, write and copy memory, and multiply
 * and add in registers. One thread's share; each returns something that depends on all it did, so that a test can check
 * it and a compiler cannot leave it out. */
#ifndef PHY_BENCH_PEAK_H
#define PHY_BENCH_PEAK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cpu_features.h"

enum { PHY_PEAK_UNIT_BYTES = 1024 }; /* sizes and addresses of the memory kernels: 64-byte aligned multiples of it */

struct phy_peak_variant {
    const char *name; /* "ref", "avx2", "avx512" */
    struct phy_cpu_features needs;
    /* The exclusive or of all 64-bit words. */
    uint64_t (*read)(const void *from, size_t bytes);
    /* Every 64-bit word becomes `word`. stream: past the caches, as suits what does not fit them. */
    void (*write)(void *to, size_t bytes, uint64_t word, bool stream);
    void (*copy)(void *to, const void *from, size_t bytes, bool stream);
    /* `rounds` rounds of multiply-adds acc = acc * one + one in independent chains that start at zero; the sum of the
     * chains. `one` is 1, which the compiler must not know: the sum is the number of multiply-adds, which is
     * `per_round` * rounds as long as float32 holds a chain's count. */
    double (*multiply_f32)(uint64_t rounds, float one);
    /* The same of weights in float16, which are widened first: one (16 codes) is all ones. */
    double (*multiply_f16)(uint64_t rounds, const uint16_t *one);
    /* int8 products, summed in int32: `one` (64 bytes) is all ones. The count modulo 2^32. */
    uint32_t (*multiply_i8)(uint64_t rounds, const int8_t *one);
    /* Products of bf16, summed in float32, without widening, as multiply_f32; NULL: the processor has none. */
    double (*multiply_bf16)(uint64_t rounds, float one);
    uint32_t f32_per_round, f16_per_round, i8_per_round, bf16_per_round; /* multiply-adds */
};

/* Of that name with the best instructions that this processor has for it; NULL if there is none. */
const struct phy_peak_variant *phy_peak_variant_named(const char *name);

#ifdef PHY_BENCH_X86
extern const struct phy_peak_variant phy_peak_avx2, phy_peak_avx512;
uint32_t phy_peak_multiply_i8_vnni(uint64_t rounds, const int8_t *one);
double phy_peak_multiply_bf16(uint64_t rounds, float one);
enum { PHY_PEAK_VNNI_PER_ROUND = 12 * 64, PHY_PEAK_BF16_PER_ROUND = 12 * 32 };
/* Beside PHY_BENCH_AMX: four products of whole tiles */
uint32_t phy_peak_multiply_i8_amx(uint64_t rounds, const int8_t *one);
double phy_peak_multiply_bf16_amx(uint64_t rounds, float one);
enum { PHY_PEAK_AMX_I8_PER_ROUND = 4 * 16 * 16 * 64, PHY_PEAK_AMX_BF16_PER_ROUND = 4 * 16 * 16 * 32 };
#endif
extern const struct phy_peak_variant phy_peak_ref;

#endif
