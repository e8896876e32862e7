/* SPDX-License-Identifier: Apache-2.0 */
/* Body of the SIMD forms of int8_matmul.h: rounding, and the products of few rows of x. Included after vec_<form>.h and
 *
 *   struct total, total_zero, total_sum    what a row's products add up in, and its sum
 *   store_codes(to, scaled[])              16 floats rounded to int8; returns their sum
 *   dot_group(type, w, blocks, x, paired, scale, sums, stride, count, total[])
 *       the blocks of a group of 256 times `count` rows of x; type and count are constants where it is inlined
 *   INT8_FORM(name)                        the exported name of this form
 */
#include <string.h>

static inline float largest_magnitude(const float x[PHY_INT8_GROUP])
{
    vec most = vec_zero();
    for (size_t k = 0; k < PHY_INT8_GROUP; k += LANES)
        most = vec_max(most, vec_and(vec_load(x + k), vec_abs_mask()));
    float lanes[LANES], peak = 0;
    vec_store(lanes, most);
    for (size_t l = 0; l < LANES; l++)
        peak = lanes[l] > peak ? lanes[l] : peak;
    return peak;
}

void INT8_FORM(phy_int8_round_row)(const float *x, struct phy_int8_rows *to, size_t n)
{
    int8_t *q = to->q + n * to->groups * PHY_INT8_GROUP;
    int16_t *sums = to->sums + n * to->groups * PHY_INT8_GROUP_SUMS;
    for (size_t g = 0; g < to->groups; g++) {
        const size_t begin = g * PHY_INT8_GROUP, left = to->cols - begin;
        float padded[PHY_INT8_GROUP];
        const float *from = x + begin;
        if (left < PHY_INT8_GROUP) {
            memcpy(padded, from, left * sizeof *padded);
            memset(padded + left, 0, (PHY_INT8_GROUP - left) * sizeof *padded);
            from = padded;
        }
        const float peak = largest_magnitude(from);
        const bool tiny = peak < 0x1p-100f;
        const vec inverse = vec_set1(tiny ? 0 : 127.0f / peak);
        to->scale[n * to->groups + g] = tiny ? 0 : peak / 127.0f;
        for (size_t s = 0; s < PHY_INT8_GROUP_SUMS; s++) {
            vec scaled[PHY_INT8_SUM / LANES];
            for (size_t v = 0; v < PHY_INT8_SUM / LANES; v++)
                scaled[v] = vec_mul(vec_load(from + s * PHY_INT8_SUM + v * LANES), inverse);
            sums[g * PHY_INT8_GROUP_SUMS + s] = (int16_t)store_codes(q + begin + s * PHY_INT8_SUM, scaled);
        }
        phy_int8_pair(q + begin, to->paired + n * to->groups * PHY_INT8_GROUP + begin);
    }
}

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
        dot_group(type, w, left < group_blocks ? left : group_blocks, x->q + at * PHY_INT8_GROUP,
                  x->paired + at * PHY_INT8_GROUP, x->scale + at, x->sums + at * PHY_INT8_GROUP_SUMS, x->groups, count,
                  total);
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
    switch (product->type) {
    case PHY_WEIGHT_Q8_0:
        matvec_typed(product, PHY_WEIGHT_Q8_0, row_begin, row_end);
        break;
    case PHY_WEIGHT_Q4_K:
        matvec_typed(product, PHY_WEIGHT_Q4_K, row_begin, row_end);
        break;
    case PHY_WEIGHT_Q6_K:
        matvec_typed(product, PHY_WEIGHT_Q6_K, row_begin, row_end);
        break;
    default:
        break;
    }
}
