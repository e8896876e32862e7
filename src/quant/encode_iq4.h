/* SPDX-License-Identifier: Apache-2.0 */
/* Encoder of iq4_nl: blocks of 32 that decode to d * table[q]. One lane is one block.
 *
 * Least squared error (docs/quant.md, "The encoders here"): steps that put the largest entry around the table's ends,
 * each refitted by least squares to the levels that it gave; the best and f16's neighbours of it are tried as they are
 * stored.
 *
 * Included after one of quant/lanes_*.h. */
#include <math.h>

#include "quant/encode_forms.h"
#include "quant/encode_units.h"
#include "quant/iq4_nl.h"

enum { ELEMENTS = 32, HALF = 16, LEVELS = 16 };

/* The value nearest to t, the lower of two. */
static inline vec iq4_value(vec t)
{
    vec value = vec_set1(phy_iq4_values[0]);
    for (int k = 1; k < LEVELS; k++) {
        const vec between = vec_set1((phy_iq4_values[k - 1] + phy_iq4_values[k]) / 2);
        value = vec_select(vec_less(between, t), vec_set1(phy_iq4_values[k]), value);
    }
    return value;
}

static inline ivec iq4_code(vec t)
{
    vec code = vec_set1(0);
    for (int k = 1; k < LEVELS; k++) {
        const vec between = vec_set1((phy_iq4_values[k - 1] + phy_iq4_values[k]) / 2);
        code = vec_select(vec_less(between, t), vec_set1((float)k), code);
    }
    return vec_trunc(code);
}

struct iq4_fit {
    vec error, d;
};

/* With values `step` apart; without a step all decode to zero. `refit`: and what least squares makes of it. */
static inline void try_step(const vec *x, vec step, bool refit, struct iq4_fit *best)
{
    const vec zero = vec_set1(0), one = vec_set1(1);
    const mask some = vec_less(zero, vec_abs(step));
    const vec inverse = vec_select(some, finite_inverse(step), one);
    vec rr_sum = zero, rl_sum = zero, ll_sum = zero;
    for (int j = 0; j < ELEMENTS; j++) {
        const vec t = vec_mul(x[j], inverse), l = vec_select(some, iq4_value(t), zero), r = vec_sub(t, l);
        rr_sum = vec_add(rr_sum, vec_mul(r, r));
        rl_sum = vec_add(rl_sum, vec_mul(r, l));
        ll_sum = vec_add(ll_sum, vec_mul(l, l));
    }
    const vec b = refit ? vec_div(rl_sum, ll_sum) : zero;
    const vec found = vec_mul(vec_sub(rr_sum, vec_mul(b, rl_sum)), vec_select(some, vec_mul(step, step), one));
    const mask better = vec_less(found, best->error);
    best->error = vec_select(better, found, best->error);
    best->d = vec_select(better, vec_mul(step, vec_add(one, b)), best->d);
}

/* d as f16 holds it, `away` codes from zero or towards it. */
static inline vec stored_f16(vec d, int away)
{
    float lanes[LANES];
    vec_store(lanes, d);
    for (int lane = 0; lane < LANES; lane++) {
        const uint16_t half = phy_f16_round(lanes[lane]), sign = half & 0x8000;
        const int magnitude = (half & 0x7FFF) + away;
        lanes[lane] = phy_f16_widen((uint16_t)(sign | (magnitude < 0 ? 0 : magnitude > 0x7BFF ? 0x7BFF : magnitude)));
    }
    return vec_load(lanes);
}

static inline void encode_unit_iq4_nl(const float *from, uint8_t *out)
{
    enum { D_AT = 0, QS_AT = 2, BYTES = 18, TRIES = 16 };
    vec x[ELEMENTS], most = vec_set1(0), peak = vec_set1(0);
    lanes_transpose(from, ELEMENTS, ELEMENTS, x);
    for (int j = 0; j < ELEMENTS; j++) {
        x[j] = clamped(x[j], vec_set1(-0x1p27f), vec_set1(0x1p27f));
        const vec magnitude = vec_abs(x[j]);
        const mask larger = vec_less(most, magnitude);
        most = vec_select(larger, magnitude, most);
        peak = vec_select(larger, x[j], peak);
    }
    struct iq4_fit fit = {vec_set1(INFINITY), vec_set1(0)};
    for (int i = 0; i < TRIES; i++) {
        /* The table's ends are -127 and 113. */
        try_step(x, vec_mul(peak, vec_set1(-1 / (95 + 3 * (float)i))), true, &fit);
        try_step(x, vec_mul(peak, vec_set1(1 / (85 + 3 * (float)i))), true, &fit);
    }
    struct iq4_fit kept = {vec_set1(INFINITY), vec_set1(0)};
    for (int away = -1; away <= 1; away++)
        try_step(x, stored_f16(fit.d, away), false, &kept);
    const vec inverse = finite_inverse(kept.d);
    ivec q[ELEMENTS];
    for (int j = 0; j < ELEMENTS; j++)
        q[j] = iq4_code(vec_mul(x[j], inverse));
    put_halves(kept.d, out + D_AT, BYTES);
    for (int j = 0; j < HALF; j += 4) {
        const ivec low = bytes_of(q[j], q[j + 1], q[j + 2], q[j + 3]), *h = q + j + HALF;
        put_words(ivec_or(low, ivec_shift_left(bytes_of(h[0], h[1], h[2], h[3]), 4)), out + QS_AT + j, BYTES);
    }
}

void FORM(phy_encode_iq4_nl)(const float *from, size_t blocks, uint8_t *out)
{
    encode_in_units(encode_unit_iq4_nl, LANES, ELEMENTS, 18, from, blocks, out);
}
