/* SPDX-License-Identifier: Apache-2.0 */
#include <immintrin.h>

#include "bench/peak.h"

/* Two units of four cycles want eight chains; more cover a unit that waits, and there are registers for them. */
enum { CHAINS = 12, LANES = 16 };

#define MM(operation) _mm512_##operation
#define ZERO_WORDS MM(setzero_si512)
#define SET1_64 MM(set1_epi64)
#define XOR_WORDS MM(xor_si512)
#define LOAD_WORDS MM(load_si512)
#define LOADU_WORDS MM(loadu_si512)
#define STORE_WORDS MM(store_si512)
#define STOREU_WORDS MM(storeu_si512)
#define STREAM_WORDS MM(stream_si512)
#define LOAD_HALVES(from) _mm256_loadu_si256((const vec_halves *)(from))
#define VEC_CONSTRAINT "v"
typedef __m512i vec_words;
typedef __m512 vec_float;
typedef __m256i vec_halves;

#include "bench/peak_simd.h"

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
