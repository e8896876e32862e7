/* SPDX-License-Identifier: Apache-2.0 */
/* Rounding of x for the SIMD forms of int8_matmul.h. Included after vec_<form>.h and
 *
 *   largest_lane(v)
 *   store_codes(to, x, inverse)     64 floats, times that, rounded to int8
 *   store_sums(q, sums, fours)      of a group; fours may be NULL
 *   INT8_FORM(name)                 the exported name of this form
 */
#include <string.h>

static inline float largest_magnitude(const float x[PHY_INT8_GROUP])
{
    vec most = vec_zero();
    for (size_t k = 0; k < PHY_INT8_GROUP; k += LANES)
        most = vec_max(most, vec_and(vec_load(x + k), vec_abs_mask()));
    return largest_lane(most);
}

void INT8_FORM(phy_int8_round_row)(const float *x, struct phy_int8_rows *to, size_t n)
{
    int8_t *q = to->q + n * to->groups * PHY_INT8_GROUP;
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
        for (size_t i = 0; i < PHY_INT8_GROUP; i += 64)
            store_codes(q + begin + i, from + i, inverse);
        const size_t at = n * to->groups + g;
        store_sums(q + begin, &to->sums[at], to->fours ? to->fours + at * (PHY_INT8_GROUP / 4) : NULL);
        if (to->paired)
            phy_int8_pair(q + begin, to->paired + at * PHY_INT8_GROUP);
    }
}
