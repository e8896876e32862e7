/* SPDX-License-Identifier: Apache-2.0 */
#include <immintrin.h>

#include "bench/peak.h"

/* Two units of four cycles want eight chains; two more cover a unit that waits. */
enum { CHAINS = 10, LANES = 8 };

#define MM(operation) _mm256_##operation
#define ZERO_WORDS MM(setzero_si256)
#define SET1_64 MM(set1_epi64x)
#define XOR_WORDS MM(xor_si256)
#define LOAD_WORDS MM(load_si256)
#define LOADU_WORDS MM(loadu_si256)
#define STORE_WORDS MM(store_si256)
#define STOREU_WORDS MM(storeu_si256)
#define STREAM_WORDS MM(stream_si256)
#define LOAD_HALVES(from) _mm_loadu_si128((const vec_halves *)(from))
#define VEC_CONSTRAINT "x"
typedef __m256i vec_words;
typedef __m256 vec_float;
typedef __m128i vec_halves;

#include "bench/peak_simd.h"

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
