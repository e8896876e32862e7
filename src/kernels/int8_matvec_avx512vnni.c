/* SPDX-License-Identifier: Apache-2.0 */
/* Products of few rows of x: some rows of w at a time, so that what their blocks' sums still need is done for all of
 * them at once. A 512-bit instruction holds one of four units for two cycles here (Zen 4): two a cycle at best, of
 * which one may multiply and one shuffle or shift. */
#include <string.h>

#include "kernels/int8_avx512vnni.h"

enum { ROWS = 4 }; /* of w at a time */

INLINE float largest_lane(vec v)
{
    return _mm512_reduce_max_ps(v);
}

/* 64 floats rounded to int8. */
INLINE void store_codes(int8_t *to, const float *x, vec inverse)
{
    UNROLL
    for (size_t i = 0; i < 64; i += 16)
        _mm_storeu_si128((__m128i *)(to + i),
                         _mm512_cvtsepi32_epi8(_mm512_cvtps_epi32(vec_mul(vec_load(x + i), inverse))));
}

INLINE void store_sums(const int8_t q[PHY_INT8_GROUP], struct phy_int8_sums *sums, int32_t *fours)
{
    const __m512i ones = _mm512_set1_epi8(1);
    __m512i part[4];
    UNROLL
    for (size_t i = 0; i < 4; i++) {
        part[i] = _mm512_dpbusd_epi32(_mm512_setzero_si512(), ones, load64(q + 64 * i));
        if (fours)
            _mm512_storeu_si512(fours + 16 * i,
                                _mm512_slli_epi32(_mm512_sub_epi32(_mm512_setzero_si512(), part[i]), 5));
    }
    /* Neighbours added twice: sums of 16 in order. */
    const __m512i order = _mm512_set_epi32(15, 11, 7, 3, 14, 10, 6, 2, 13, 9, 5, 1, 12, 8, 4, 0);
    const __m512i first =
        _mm512_add_epi32(_mm512_unpacklo_epi32(part[0], part[1]), _mm512_unpackhi_epi32(part[0], part[1]));
    const __m512i last =
        _mm512_add_epi32(_mm512_unpacklo_epi32(part[2], part[3]), _mm512_unpackhi_epi32(part[2], part[3]));
    const __m512i both = _mm512_add_epi32(_mm512_unpacklo_epi64(first, last), _mm512_unpackhi_epi64(first, last));
    const __m512i sixteens = _mm512_permutexvar_epi32(order, both);
    const __m256i words = _mm512_cvtepi32_epi16(sixteens);
    const __m256i thirty_twos = _mm256_madd_epi16(words, _mm256_set1_epi16(1));
    _mm256_storeu_si256((__m256i *)sums->of_16, words);
    _mm_storeu_si128((__m128i *)sums->of_32, _mm256_cvtepi32_epi16(thirty_twos));
    _mm512_storeu_si512(sums->less_32, _mm512_slli_epi32(_mm512_sub_epi32(_mm512_setzero_si512(), sixteens), 5));
    _mm256_storeu_si256((__m256i *)sums->less_128,
                        _mm256_slli_epi32(_mm256_sub_epi32(_mm256_setzero_si256(), thirty_twos), 7));
}

#include "kernels/int8_matmul_simd.h"

/* ---- q4_K ---- */

/* The products of a block of 256, times their scales: any lanes. `words` holds the scales of four blocks, of which this
 * is number r. */
INLINE __m512i sum_q4_k(const uint8_t *w, size_t r, __m512i words, const __m512i x[4])
{
    /* Words of scales as the packed sums below want them: s0 s1 s0 s1 s2 s3 s2 s3, four of each. */
    const __m512i order = _mm512_set_epi64(0x0003000300030003, 0x0002000200020002, 0x0003000300030003,
                                           0x0002000200020002, 0x0001000100010001, 0, 0x0001000100010001, 0);
    const __m512i nibble = _mm512_set1_epi8(0x0F);
    __m512i sum = _mm512_setzero_si512();
    UNROLL
    for (size_t c = 0; c < 2; c++) {
        const __m512i qs = load64(w + 16 + 64 * c);
        const __m512i even = _mm512_and_si512(qs, nibble); /* groups 4c, 4c + 2 */
        const __m512i odd = _mm512_and_si512(_mm512_srli_epi16(qs, 4), nibble);
        const __m512i first = _mm512_dpbusd_epi32(_mm512_setzero_si512(), even, x[2 * c]);
        const __m512i second = _mm512_dpbusd_epi32(_mm512_setzero_si512(), odd, x[2 * c + 1]);
        const __m512i index = _mm512_add_epi16(order, _mm512_set1_epi16((short)(8 * r + 4 * c)));
        /* Sums of four are at most 4 * 15 * 127. */
        sum = _mm512_dpwssd_epi32(sum, _mm512_packs_epi32(first, second), _mm512_permutexvar_epi16(index, words));
    }
    return sum;
}

/* Four of each vector's lanes' sums, in 128 bits each. */
INLINE __m512i fold_four(const __m512i v[4])
{
    const __m512i first =
        _mm512_add_epi32(_mm512_shuffle_i64x2(v[0], v[1], 0x44), _mm512_shuffle_i64x2(v[0], v[1], 0xEE));
    const __m512i last =
        _mm512_add_epi32(_mm512_shuffle_i64x2(v[2], v[3], 0x44), _mm512_shuffle_i64x2(v[2], v[3], 0xEE));
    return _mm512_add_epi32(_mm512_shuffle_i32x4(first, last, 0x88), _mm512_shuffle_i32x4(first, last, 0xDD));
}

/* A block of each of four rows: for each what the scaled codes come to, and what is taken off, in float64, as the two
 * may all but cancel. The integers are exact. */
INLINE __m512d add_q4_k(const uint8_t *const w[ROWS], const int8_t *paired, float scale,
                        const struct phy_int8_sums *sums, __m512d total)
{
    const __m512i heads = load_four(w, 0);
    const __m512i bytes = scales_q4_k(heads);
    const __m512i words = _mm512_unpacklo_epi8(bytes, _mm512_setzero_si512());
    const __m512i minima = _mm512_unpackhi_epi8(bytes, _mm512_setzero_si512());
    const __m512i x[4] = {load64(paired), load64(paired + 64), load64(paired + 128), load64(paired + 192)};
    __m512i part[ROWS];
    UNROLL
    for (size_t r = 0; r < ROWS; r++)
        part[r] = sum_q4_k(w[r], r, words, x);
    const __m512i above = fold_four(part);
    const __m512i below = _mm512_madd_epi16(minima, _mm512_broadcast_i32x4(load16(sums->of_32)));
    __m512i pairs = _mm512_add_epi32(_mm512_unpacklo_epi32(above, below), _mm512_unpackhi_epi32(above, below));
    pairs = _mm512_add_epi32(pairs, _mm512_shuffle_epi32(pairs, _MM_PERM_BADC));
    const __m512i firsts = _mm512_permutexvar_epi64(_mm512_set_epi64(7, 5, 3, 1, 6, 4, 2, 0), pairs);
    /* d and dmin of each */
    const __m512i halves =
        _mm512_permutexvar_epi32(_mm512_set_epi32(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 12, 8, 4, 0), heads);
    const __m512d factors = _mm512_cvtps_pd(_mm256_cvtph_ps(_mm512_castsi512_si128(halves)));
    return _mm512_fmadd_pd(_mm512_cvtepi32_pd(_mm512_castsi512_si256(firsts)),
                           _mm512_mul_pd(factors, _mm512_set1_pd((double)scale)), total);
}

/* Asks for a block's lines of the next rows, into L2. Rows of blocks are short, and four at a time are too many streams
 * of too few lines for the processor's own prefetching: without this a product from memory takes three times as long. A
 * share's last rows ask for those that follow it, which the same thread is most likely to take next. The less there is
 * to do for a byte, the more often it is asked for, as in matmul_simd.h: `times`, of so many times four rows (Zen 4:
 * q6_K 1.15 times faster with three, q8_0 1.25 with four). */
INLINE void ask_for(const uint8_t *at, size_t stride, size_t bytes, size_t times)
{
    UNROLL
    for (size_t ahead = 1; ahead <= times; ahead++) {
        UNROLL
        for (size_t b = 0; b < bytes; b += 64)
            _mm_prefetch((const char *)at + ahead * ROWS * stride + b, _MM_HINT_T1);
    }
}

INLINE void rows_q4_k(const struct phy_int8_rows *x, size_t n, const uint8_t *const w[ROWS], size_t stride, bool often,
                      float y[ROWS])
{
    const uint8_t *at[ROWS] = {w[0], w[1], w[2], w[3]};
    __m512d total = _mm512_setzero_pd();
    double lanes[2 * ROWS];
    for (size_t g = n * x->groups; g < (n + 1) * x->groups; g++) {
        total = add_q4_k(at, x->paired + g * PHY_INT8_GROUP, x->scale[g], &x->sums[g], total);
        for (size_t r = 0; r < ROWS; r++) {
            ask_for(at[r], stride, 144, often ? 2 : 1);
            at[r] += 144;
        }
    }
    _mm512_storeu_pd(lanes, total);
    for (size_t r = 0; r < ROWS; r++)
        y[r] = (float)(lanes[2 * r] - lanes[2 * r + 1]);
}

/* ---- q6_K ---- */

INLINE __m512i twice(const void *at)
{
    return _mm512_broadcast_i64x4(_mm256_loadu_si256(at));
}

/* First the 32 bytes of words of the low half, then of the high. */
INLINE __m512i halves16(short low, short high)
{
    return _mm512_inserti64x4(_mm512_set1_epi16(low), _mm256_set1_epi16(high), 1);
}

/* Codes are 32 too many: `fours` begins the sums with that taken off. */
INLINE vec add_q6_k(const uint8_t *w, const int8_t *x, const int32_t *fours, float scale, vec total)
{
    /* Words of scales times 256, as the packed sums want them: s0 s4 s1 s5 s2 s6 s3 s7, four of each. */
    const __m512i order =
        _mm512_set_epi64((long long)0x0780078007800780, 0x0380038003800380, 0x0680068006800680, 0x0280028002800280,
                         0x0580058005800580, 0x0180018001800180, 0x0480048004800480, 0x0080008000800080);
    const __m512i nibble = _mm512_set1_epi8(0x0F), two = _mm512_set1_epi8(0x30);
    const __m512i scales = _mm512_broadcast_i32x4(load16(w + 192));
    __m512i sum = _mm512_setzero_si512();
    UNROLL
    for (size_t h = 0; h < 2; h++) {
        const __m512i ql = load64(w + 64 * h), qh = twice(w + 128 + 32 * h);
        const __m512i high_even = _mm512_and_si512(_mm512_sllv_epi16(qh, halves16(4, 2)), two);
        const __m512i high_odd = _mm512_and_si512(_mm512_srlv_epi16(qh, halves16(0, 2)), two);
        /* high | (low & nibble) */
        const __m512i even = _mm512_ternarylogic_epi32(high_even, ql, nibble, 0xF8);
        const __m512i odd = _mm512_ternarylogic_epi32(high_odd, _mm512_srli_epi16(ql, 4), nibble, 0xF8);
        const __m512i first = _mm512_dpbusd_epi32(load64(fours + 32 * h), even, load64(x + 128 * h));
        const __m512i second = _mm512_dpbusd_epi32(load64(fours + 32 * h + 16), odd, load64(x + 128 * h + 64));
        const __m512i words =
            _mm512_shuffle_epi8(scales, _mm512_add_epi16(order, _mm512_set1_epi16((short)(0x0800 * h))));
        /* Four products each are at most 4 * 32 * 127 now; four of those times 256 * 128 are less than 2^31, and
         * multiples of 256: exact in float32. */
        sum = _mm512_dpwssd_epi32(sum, _mm512_packs_epi32(first, second), words);
    }
    const float d = _mm_cvtss_f32(_mm_cvtph_ps(_mm_cvtsi32_si128(phy_load_u16(w + 208))));
    return vec_fma(_mm512_cvtepi32_ps(sum), vec_set1(d * (scale * 0x1p-8f)), total);
}

INLINE void rows_q6_k(const struct phy_int8_rows *x, size_t n, const uint8_t *const w[ROWS], size_t stride, bool often,
                      float y[ROWS])
{
    const uint8_t *at[ROWS] = {w[0], w[1], w[2], w[3]};
    vec total[ROWS];
    UNROLL
    for (size_t r = 0; r < ROWS; r++)
        total[r] = vec_zero();
    for (size_t g = n * x->groups; g < (n + 1) * x->groups; g++) {
        UNROLL
        for (size_t r = 0; r < ROWS; r++) {
            total[r] =
                add_q6_k(at[r], x->q + g * PHY_INT8_GROUP, x->fours + g * PHY_INT8_GROUP / 4, x->scale[g], total[r]);
            ask_for(at[r], stride, 210, often ? 3 : 1);
            at[r] += 210;
        }
    }
    vec_store_sums(y, 0, total, ROWS, 1);
}

/* ---- q8_0 ---- */

/* The scales of two blocks: eight lanes of each. */
INLINE vec scales_q8_0(const uint8_t *w, bool both)
{
    const __m256i first = _mm256_set1_epi16((short)phy_load_u16(w));
    const __m256i second = both ? _mm256_set1_epi16((short)phy_load_u16(w + 34)) : first;
    return _mm512_cvtph_ps(_mm256_blend_epi32(first, second, 0xF0));
}

INLINE vec add_q8_0(const uint8_t *w, size_t blocks, const int8_t *x, const int32_t *fours, float scale, vec total)
{
    vec part = vec_zero();
    UNROLL
    for (size_t b = 0; b < blocks; b += 2) {
        const bool both = b + 1 < blocks;
        const __m512i lanes = _mm512_dpbusd_epi32(_mm512_slli_epi32(load64(fours + 8 * b), 2),
                                                  codes_q8_0(w + b * 34, both), load64(x + 32 * b));
        part = vec_fma(_mm512_cvtepi32_ps(lanes), scales_q8_0(w + b * 34, both), part);
    }
    return vec_fma(part, vec_set1(scale), total);
}

INLINE void rows_q8_0(const struct phy_int8_rows *x, size_t n, const uint8_t *const w[ROWS], size_t stride, bool often,
                      float y[ROWS])
{
    enum { GROUP_BLOCKS = PHY_INT8_GROUP / GROUP };
    const size_t whole = x->cols / PHY_INT8_GROUP, left = (x->cols % PHY_INT8_GROUP + GROUP - 1) / GROUP;
    const int8_t *q = x->q + n * x->groups * PHY_INT8_GROUP;
    const int32_t *fours = x->fours + n * x->groups * PHY_INT8_GROUP / 4;
    const float *scale = x->scale + n * x->groups;
    const uint8_t *at[ROWS] = {w[0], w[1], w[2], w[3]};
    vec total[ROWS];
    UNROLL
    for (size_t r = 0; r < ROWS; r++)
        total[r] = vec_zero();
    for (size_t g = 0; g < whole; g++, q += PHY_INT8_GROUP, fours += PHY_INT8_GROUP / 4) {
        UNROLL
        for (size_t r = 0; r < ROWS; r++) {
            total[r] = add_q8_0(at[r], GROUP_BLOCKS, q, fours, scale[g], total[r]);
            ask_for(at[r], stride, GROUP_BLOCKS * 34, often ? 4 : 1);
            at[r] += GROUP_BLOCKS * 34;
        }
    }
    if (left) {
        for (size_t r = 0; r < ROWS; r++)
            total[r] = add_q8_0(at[r], left, q, fours, scale[whole], total[r]);
    }
    vec_store_sums(y, 0, total, ROWS, 1);
}

/* ---- all ---- */

INLINE void matvec_typed(const struct phy_int8_matmul *product, enum phy_weight_type type, size_t row_begin,
                         size_t row_end)
{
    const struct phy_int8_rows *x = product->x;
    const size_t stride = row_stride(type, x->cols);
    for (size_t r = row_begin; r < row_end; r += ROWS) {
        const size_t rows = row_end - r < ROWS ? row_end - r : ROWS;
        const uint8_t *w[ROWS];
        float y[ROWS];
        for (size_t i = 0; i < ROWS; i++) /* the last row stands in for those beyond */
            w[i] = (const uint8_t *)product->w + (r + (i < rows ? i : rows - 1)) * stride;
        for (size_t n = 0; n < x->count; n++) {
            if (type == PHY_WEIGHT_Q4_K)
                rows_q4_k(x, n, w, stride, !product->cached, y);
            else if (type == PHY_WEIGHT_Q6_K)
                rows_q6_k(x, n, w, stride, !product->cached, y);
            else
                rows_q8_0(x, n, w, stride, !product->cached, y);
            memcpy(product->y + n * product->y_stride + r, y, rows * sizeof *y);
        }
    }
}

void INT8_FORM(phy_int8_matvec)(const struct phy_int8_matmul *product, size_t row_begin, size_t row_end)
{
#define TYPED(type) matvec_typed(product, type, row_begin, row_end)
    PHY_INT8_FOR_TYPE(product->type, TYPED)
#undef TYPED
}
