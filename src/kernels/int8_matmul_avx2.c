/* SPDX-License-Identifier: Apache-2.0 */
#include "kernels/block_unpack_avx2.h"
#include "kernels/int8_matmul_forms.h"
#include "kernels/vec_avx2.h"
#include "kernels/vec_math.h"

#define INT8_FORM(name) name##_avx2

enum { ROWS_AHEAD = 4 };

/* Where large products cancel (codes and the minima or the 32 that are taken off), sums go on in float64: the integers
 * are exact, and so is the tolerance kept however small the difference. q8_0 has no such difference. */
struct total {
    __m256d exact;
    vec sum;
};

INLINE struct total total_zero(void)
{
    return (struct total){_mm256_setzero_pd(), vec_zero()};
}

/* One of the two is zero. */
INLINE float total_sum(struct total total)
{
    double lanes[4];
    _mm256_storeu_pd(lanes, total.exact);
    return (float)(lanes[0] + lanes[1] + (lanes[2] + lanes[3])) + vec_sum(total.sum);
}

INLINE __m256i load32(const void *at)
{
    return _mm256_loadu_si256(at);
}

INLINE float largest_lane(vec v)
{
    float lanes[LANES], most = 0;
    vec_store(lanes, v);
    for (size_t l = 0; l < LANES; l++)
        most = lanes[l] > most ? lanes[l] : most;
    return most;
}

INLINE void store_codes(int8_t *to, const float *x, vec inverse)
{
    for (size_t i = 0; i < 64; i += 16) {
        const __m256i first = _mm256_cvtps_epi32(vec_mul(vec_load(x + i), inverse));
        const __m256i last = _mm256_cvtps_epi32(vec_mul(vec_load(x + i + 8), inverse));
        const __m256i words = _mm256_permute4x64_epi64(_mm256_packs_epi32(first, last), 0xD8);
        _mm_storeu_si128((__m128i *)(to + i),
                         _mm_packs_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1)));
    }
}

INLINE void store_sums(const int8_t q[PHY_INT8_GROUP], struct phy_int8_sums *sums, int32_t *fours)
{
    int32_t local[PHY_INT8_GROUP / 4];
    for (size_t i = 0; i < PHY_INT8_GROUP; i += 32) {
        const __m256i pairs = _mm256_maddubs_epi16(_mm256_set1_epi8(1), load32(q + i));
        _mm256_storeu_si256((__m256i *)(local + i / 4), _mm256_madd_epi16(pairs, _mm256_set1_epi16(-32)));
    }
    phy_int8_sum(local, sums);
    if (fours)
        memcpy(fours, local, sizeof local);
}

INLINE double half_value(const uint8_t *at)
{
    return (double)_mm_cvtss_f32(_mm_cvtph_ps(_mm_cvtsi32_si128(phy_load_u16(at))));
}

INLINE __m128i fold(__m256i lanes)
{
    return _mm_add_epi32(_mm256_castsi256_si128(lanes), _mm256_extracti128_si256(lanes, 1));
}

INLINE void dot_q4_k(const uint8_t *w, const int8_t *x, const float *scale, const struct phy_int8_sums *sums,
                     size_t stride, size_t count, struct total total[])
{
    const __m256i codes16 = _mm256_cvtepu8_epi16(q4_k_scales(w)); /* words s0..7, m0..7 */
    const __m128i minima = _mm256_extracti128_si256(codes16, 1);
    const double d = half_value(w), dmin = half_value(w + 2);
    const __m256d factors = _mm256_set_pd(-dmin, -dmin, d, d);
    const __m256i nibble = _mm256_set1_epi8(0x0F);
    short scales[16];
    __m256i part[4];
    _mm256_storeu_si256((__m256i *)scales, codes16);
    HOLD_IN_MEMORY(scales);
    UNROLL
    for (size_t j = 0; j < count; j++)
        part[j] = _mm256_setzero_si256();
    UNROLL
    for (size_t g = 0; g < 8; g++) {
        const __m256i qs = load32(w + 16 + 32 * (g / 2));
        const __m256i codes = _mm256_and_si256(g % 2 ? _mm256_srli_epi16(qs, 4) : qs, nibble);
        UNROLL
        for (size_t j = 0; j < count; j++) {
            const __m256i pairs = _mm256_maddubs_epi16(codes, load32(x + j * stride * PHY_INT8_GROUP + 32 * g));
            part[j] = _mm256_add_epi32(part[j], _mm256_madd_epi16(pairs, _mm256_set1_epi16(scales[g])));
        }
    }
    UNROLL
    for (size_t j = 0; j < count; j++) {
        const __m128i below = _mm_madd_epi16(minima, _mm_loadu_si128((const __m128i *)sums[j * stride].of_32));
        /* Two sums of products, then two of what is taken off. */
        const __m256d lanes = _mm256_cvtepi32_pd(_mm_hadd_epi32(fold(part[j]), below));
        total[j].exact =
            _mm256_fmadd_pd(lanes, _mm256_mul_pd(factors, _mm256_set1_pd((double)scale[j * stride])), total[j].exact);
    }
}

INLINE void dot_q6_k(const uint8_t *w, const int8_t *x, const float *scale, const struct phy_int8_sums *sums,
                     size_t stride, size_t count, struct total total[])
{
    const __m256i scales = _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)(w + 192)));
    const double d = half_value(w + 208);
    short each[16];
    __m256i part[4];
    _mm256_storeu_si256((__m256i *)each, scales);
    HOLD_IN_MEMORY(each);
    UNROLL
    for (size_t j = 0; j < count; j++)
        part[j] = _mm256_setzero_si256();
    UNROLL
    for (size_t g = 0; g < 8; g++) {
        const __m256i codes = q6_k_raw_codes(w, g);
        const __m256i words = _mm256_set_m128i(_mm_set1_epi16(each[2 * g + 1]), _mm_set1_epi16(each[2 * g]));
        UNROLL
        for (size_t j = 0; j < count; j++) {
            const __m256i pairs = _mm256_maddubs_epi16(codes, load32(x + j * stride * PHY_INT8_GROUP + 32 * g));
            part[j] = _mm256_add_epi32(part[j], _mm256_madd_epi16(pairs, words));
        }
    }
    UNROLL
    for (size_t j = 0; j < count; j++) {
        const __m256i offset = _mm256_madd_epi16(scales, load32(sums[j * stride].of_16));
        const __m256i lanes = _mm256_sub_epi32(part[j], _mm256_slli_epi32(offset, 5)); /* codes less 32 */
        total[j].exact = _mm256_fmadd_pd(_mm256_cvtepi32_pd(fold(lanes)), _mm256_set1_pd(d * (double)scale[j * stride]),
                                         total[j].exact);
    }
}

/* Magnitudes of the codes, times activations with the codes' signs: pairs reach 2 * 128 * 127, which a word holds. */
INLINE void dot_q8_0(const uint8_t *w, size_t blocks, const int8_t *x, const float *scale, size_t stride, size_t count,
                     struct total total[])
{
    vec part[4];
    UNROLL
    for (size_t j = 0; j < count; j++)
        part[j] = vec_zero();
    for (size_t b = 0; b < blocks; b++) {
        const __m256i codes = load32(w + b * 34 + 2), magnitude = _mm256_abs_epi8(codes);
        const vec d = _mm256_cvtph_ps(_mm_set1_epi16((short)phy_load_u16(w + b * 34)));
        UNROLL
        for (size_t j = 0; j < count; j++) {
            const __m256i xs = _mm256_sign_epi8(load32(x + j * stride * PHY_INT8_GROUP + 32 * b), codes);
            const __m256i lanes = _mm256_madd_epi16(_mm256_maddubs_epi16(magnitude, xs), _mm256_set1_epi16(1));
            part[j] = vec_fma(_mm256_cvtepi32_ps(lanes), d, part[j]);
        }
    }
    UNROLL
    for (size_t j = 0; j < count; j++)
        total[j].sum = vec_fma(part[j], vec_set1(scale[j * stride]), total[j].sum);
}

INLINE void dot_group(enum phy_weight_type type, const uint8_t *w, size_t blocks, const int8_t *x, const float *scale,
                      const struct phy_int8_sums *sums, size_t stride, size_t count, struct total total[])
{
    if (type == PHY_WEIGHT_Q4_K)
        dot_q4_k(w, x, scale, sums, stride, count, total);
    else if (type == PHY_WEIGHT_Q6_K)
        dot_q6_k(w, x, scale, sums, stride, count, total);
    else
        dot_q8_0(w, blocks, x, scale, stride, count, total);
}

#include "kernels/int8_matmul_simd.h"

INLINE void dot_row(const struct phy_int8_matmul *product, enum phy_weight_type type, size_t r, size_t n, size_t count)
{
    const struct phy_int8_rows *x = product->x;
    const size_t row_blocks = (x->cols + block_elements(type) - 1) / block_elements(type);
    const size_t group_blocks = PHY_INT8_GROUP / block_elements(type), group_bytes = group_blocks * block_bytes(type);
    const uint8_t *w = (const uint8_t *)product->w + r * row_blocks * block_bytes(type);
    struct total total[4];
    UNROLL
    for (size_t j = 0; j < count; j++)
        total[j] = total_zero();
    for (size_t g = 0; g < x->groups; g++, w += group_bytes) {
        const size_t at = n * x->groups + g, left = row_blocks - g * group_blocks;
        /* A later row's lines, into L2: rows are too short for the processor to see that one follows the other. */
        UNROLL
        for (size_t b = 0; b < group_bytes; b += 64)
            _mm_prefetch((const char *)w + ROWS_AHEAD * row_blocks * block_bytes(type) + b, _MM_HINT_T1);
        dot_group(type, w, left < group_blocks ? left : group_blocks, x->q + at * PHY_INT8_GROUP, x->scale + at,
                  x->sums + at, x->groups, count, total);
    }
    UNROLL
    for (size_t j = 0; j < count; j++)
        product->y[(n + j) * product->y_stride + r] = total_sum(total[j]);
}

/* One row of w after the other: one stream from memory. */
INLINE void matvec_typed(const struct phy_int8_matmul *product, enum phy_weight_type type, size_t row_begin,
                         size_t row_end)
{
    const size_t count = product->x->count, in_fours = count - count % 4;
    for (size_t r = row_begin; r < row_end; r++) {
        for (size_t n = 0; n < in_fours; n += 4)
            dot_row(product, type, r, n, 4);
        for (size_t n = in_fours; n < count; n++)
            dot_row(product, type, r, n, 1);
    }
}

void INT8_FORM(phy_int8_matvec)(const struct phy_int8_matmul *product, size_t row_begin, size_t row_end)
{
#define TYPED(type) matvec_typed(product, type, row_begin, row_end)
    PHY_INT8_FOR_TYPE(product->type, TYPED)
#undef TYPED
}

/* Without a product of four bytes there is nothing that turning the codes would gain. */
void INT8_FORM(phy_int8_matmul)(const struct phy_int8_matmul *product, size_t row_begin, size_t row_end, void *panel)
{
    (void)panel;
    phy_int8_matvec_avx2(product, row_begin, row_end);
}
