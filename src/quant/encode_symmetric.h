/* SPDX-License-Identifier: Apache-2.0 */
/* Encoders of q6_K and q3_K: blocks of 256 that decode to (d*s)*q. One lane is one group of 16.
 *
 * Least squared error, searched as in quant/encode_affine.h (docs/quant.md, "The encoders here"):
 *   1. each group by itself: steps that put its largest entry a little within or beyond the last level, each refitted
 *      by least squares to the levels that it gave; the best is kept and refitted once more;
 *   2. d from the largest scale; then each group's s among its neighbours, the entries rounded anew for each;
 *   3. d refitted by least squares to all codes of the block, and step 2 again; the better block is kept.
 *
 * Included after one of quant/lanes_*.h. */
#include <assert.h>
#include <math.h>

#include "quant/encode_forms.h"
#include "quant/encode_units.h"

enum { GROUPS = 16, GROUP = 16, SETS = GROUPS / LANES };
static_assert(SETS * LANES == GROUPS, "a unit is a block");

struct symmetric_fit {
    vec error, scale;
};

/* Levels -levels .. levels - 1. */
struct symmetric_block {
    float levels;
    vec x[SETS][GROUP];
    float scale[GROUPS];                  /* after step 1; its sign is that of s */
    float d, s[GROUPS];                   /* tried */
    float error[GROUPS];                  /* of the group so encoded, and sums over it: */
    float qq_sum[GROUPS], xq_sum[GROUPS]; /* q*q and x*q */
    float best_error, best_d, best_s[GROUPS];
};

static inline vec level_of(vec t, float levels)
{
    return nearest(clamped(t, vec_set1(-levels), vec_set1(levels - 1)));
}

static inline __attribute__((always_inline)) void try_step(const vec *x, float levels, vec step,
                                                           struct symmetric_fit *best)
{
    const vec zero = vec_set1(0), one = vec_set1(1), inverse = finite_inverse(step);
    vec rr_sum = zero, rl_sum = zero, ll_sum = zero;
    for (int j = 0; j < GROUP; j++) {
        const vec t = vec_mul(x[j], inverse), l = level_of(t, levels), r = vec_sub(t, l);
        rr_sum = vec_add(rr_sum, vec_mul(r, r));
        rl_sum = vec_add(rl_sum, vec_mul(r, l));
        ll_sum = vec_add(ll_sum, vec_mul(l, l));
    }
    /* r = b*l */
    const vec b = vec_div(rl_sum, ll_sum);
    const vec found = vec_mul(vec_sub(rr_sum, vec_mul(b, rl_sum)), vec_mul(step, step));
    const mask better = vec_less(found, best->error);
    best->error = vec_select(better, found, best->error);
    best->scale = vec_select(better, vec_mul(step, vec_add(one, b)), best->scale);
}

/* Step 1: the levels that the largest entry is put on, `first` and on by `by`. With sixteen entries a step somewhat
 * larger than the range asks for often happens to suit them better. */
struct tries {
    int count;
    float first, by;
};

static inline struct symmetric_fit fit_group(const vec *x, float levels, struct tries tries)
{
    vec most = vec_set1(0), peak = vec_set1(0);
    for (int j = 0; j < GROUP; j++) {
        const vec magnitude = vec_abs(x[j]);
        const mask larger = vec_less(most, magnitude);
        most = vec_select(larger, magnitude, most);
        peak = vec_select(larger, x[j], peak);
    }
    struct symmetric_fit best = {vec_set1(INFINITY), vec_set1(0)};
    for (int i = 0; i < tries.count; i++)
        try_step(x, levels, vec_mul(peak, vec_set1(1 / (tries.first + tries.by * (float)i))), &best);
    try_step(x, levels, best.scale, &best);
    return best;
}

static inline vec error_with(const vec *x, float levels, vec scale)
{
    /* Without a scale every level decodes to zero: t = x, and its level is 0. */
    const vec zero = vec_set1(0), one = vec_set1(1);
    const mask some = vec_less(zero, vec_abs(scale));
    const vec inverse = vec_select(some, finite_inverse(scale), one), square = vec_mul(scale, scale);
    const vec least = vec_select(some, vec_set1(-levels), zero), most = vec_select(some, vec_set1(levels - 1), zero);
    vec sum = zero;
    for (int j = 0; j < GROUP; j++) {
        const vec t = vec_mul(x[j], inverse), left = vec_sub(t, nearest(clamped(t, least, most)));
        sum = vec_add(sum, vec_mul(left, left));
    }
    return vec_mul(sum, vec_select(some, square, one));
}

static const float near[] = {-1, 0, 1};

/* Step 2 for a set of lanes. */
static inline void search_scales(struct symmetric_block *u, int set, float most_code)
{
    const int at = set * LANES;
    const vec zero = vec_set1(0), least = vec_set1(-most_code), limit = vec_set1(most_code), d = vec_set1(u->d);
    const vec s0 = nearest(clamped(vec_mul(vec_load(u->scale + at), finite_inverse(d)), least, limit));
    vec error = vec_set1(INFINITY), s = s0;
    for (size_t i = 0; i < sizeof near / sizeof *near; i++) {
        const vec tried = clamped(vec_add(s0, vec_set1(near[i])), least, limit);
        const vec found = error_with(u->x[set], u->levels, vec_mul(d, tried));
        const mask better = vec_less(found, error);
        error = vec_select(better, found, error);
        s = vec_select(better, tried, s);
    }
    vec_store(u->error + at, error);
    vec_store(u->s + at, s);
    const vec inverse = finite_inverse(vec_mul(d, s));
    vec qq_sum = zero, xq_sum = zero;
    for (int j = 0; j < GROUP; j++) {
        const vec x = u->x[set][j], q = level_of(vec_mul(x, inverse), u->levels);
        qq_sum = vec_add(qq_sum, vec_mul(q, q));
        xq_sum = vec_add(xq_sum, vec_mul(x, q));
    }
    vec_store(u->qq_sum + at, qq_sum);
    vec_store(u->xq_sum + at, xq_sum);
}

static inline void keep_better(struct symmetric_block *u)
{
    float error = 0;
    for (int g = 0; g < GROUPS; g++)
        error += u->error[g];
    if (!(error < u->best_error))
        return;
    u->best_error = error;
    u->best_d = u->d;
    memcpy(u->best_s, u->s, sizeof u->s);
}

/* Step 3: x = d * (s*q) over the block. */
static inline void refit_block(struct symmetric_block *u)
{
    double aa = 0, xa = 0;
    for (int g = 0; g < GROUPS; g++) {
        const double s = (double)u->s[g];
        aa += s * s * (double)u->qq_sum[g];
        xa += s * (double)u->xq_sum[g];
    }
    const float d = (float)(xa / aa);
    if (d > 0 && d < 65504)
        u->d = phy_f16_widen(phy_f16_round(d));
}

/* Steps 1 to 3. */
static inline __attribute__((always_inline)) void encode_symmetric(struct symmetric_block *u, const float *from,
                                                                   float levels, float most_code, struct tries tries)
{
    /* Beyond what the largest scales reach; squares of it are finite. */
    const vec most = vec_set1(0x1p29f), least = vec_set1(-0x1p29f);
    u->levels = levels;
    float scale = 0;
    for (int set = 0; set < SETS; set++) {
        vec *x = u->x[set];
        lanes_transpose(from + set * LANES * GROUP, GROUP, GROUP, x);
        for (int j = 0; j < GROUP; j++)
            x[j] = clamped(x[j], least, most);
        vec_store(u->scale + set * LANES, fit_group(x, levels, tries).scale);
    }
    for (int g = 0; g < GROUPS; g++)
        scale = fabsf(u->scale[g]) > scale ? fabsf(u->scale[g]) : scale;
    u->d = scale_to_reach(scale, most_code);
    u->best_error = INFINITY;
    u->best_d = 0;
    memset(u->best_s, 0, sizeof u->best_s);
    for (int round = 0; round < 2; round++) {
        for (int set = 0; set < SETS; set++)
            search_scales(u, set, most_code);
        keep_better(u);
        refit_block(u);
    }
}

/* Codes of the set's groups, counted from 0. */
static inline void final_codes(const struct symmetric_block *u, int set, ivec *q)
{
    const vec inverse = finite_inverse(vec_mul(vec_set1(u->best_d), vec_load(u->best_s + set * LANES)));
    for (int j = 0; j < GROUP; j++)
        q[j] = vec_trunc(vec_add(level_of(vec_mul(u->x[set][j], inverse), u->levels), vec_set1(u->levels)));
}

/* Group g is one half of run 32 * (g / 2) of the 128 of half g / 8: see src/quant/q6_k.c. */
static inline void put_six_bits(const ivec *q, int set, uint8_t *ql, uint8_t *qh)
{
    const ivec nibble = ivec_set1(15);
    for (int j = 0; j < GROUP; j += 4) {
        int32_t low[LANES], high[LANES];
        ivec_store(low, bytes_of(ivec_and(q[j], nibble), ivec_and(q[j + 1], nibble), ivec_and(q[j + 2], nibble),
                                 ivec_and(q[j + 3], nibble)));
        ivec_store(high, bytes_of(ivec_shift_right(q[j], 4), ivec_shift_right(q[j + 1], 4),
                                  ivec_shift_right(q[j + 2], 4), ivec_shift_right(q[j + 3], 4)));
        for (int lane = 0; lane < LANES; lane++) {
            const int g = set * LANES + lane, half = g / 8, run = g % 8 / 2;
            uint8_t *low_at = ql + 64 * half + 32 * (run % 2) + GROUP * (g % 2) + j;
            uint8_t *high_at = qh + 32 * half + GROUP * (g % 2) + j;
            phy_store_u32(low_at, (run / 2 ? phy_load_u32(low_at) : 0) | (uint32_t)low[lane] << 4 * (run / 2));
            phy_store_u32(high_at, (run ? phy_load_u32(high_at) : 0) | (uint32_t)high[lane] << 2 * run);
        }
    }
}

static inline void encode_unit_q6_k(const float *from, uint8_t *out)
{
    enum { QL_AT = 0, QH_AT = 128, SCALES_AT = 192, D_AT = 208 };
    struct symmetric_block u;
    encode_symmetric(&u, from, 32, 127, (struct tries){24, -22, -0.5f});
    for (int set = 0; set < SETS; set++) {
        ivec q[GROUP];
        final_codes(&u, set, q);
        put_six_bits(q, set, out + QL_AT, out + QH_AT);
    }
    for (int g = 0; g < GROUPS; g++)
        out[SCALES_AT + g] = (uint8_t)(int)u.best_s[g];
    phy_store_u16(out + D_AT, phy_f16_round(u.best_d));
}

/* Two bits of run 32 * (g / 2) in the planes of qs as of q6_K's high bits; bit g / 2 of the mask is set from 4 on. */
static inline void put_three_bits(const ivec *q, int set, uint8_t *qs, uint8_t *mask_bits)
{
    const ivec two = ivec_set1(3);
    for (int j = 0; j < GROUP; j += 4) {
        int32_t low[LANES], high[LANES];
        ivec_store(low, bytes_of(ivec_and(q[j], two), ivec_and(q[j + 1], two), ivec_and(q[j + 2], two),
                                 ivec_and(q[j + 3], two)));
        ivec_store(high, bytes_of(ivec_shift_right(q[j], 2), ivec_shift_right(q[j + 1], 2),
                                  ivec_shift_right(q[j + 2], 2), ivec_shift_right(q[j + 3], 2)));
        for (int lane = 0; lane < LANES; lane++) {
            const int g = set * LANES + lane, run = g % 8 / 2;
            uint8_t *low_at = qs + 32 * (g / 8) + GROUP * (g % 2) + j, *high_at = mask_bits + GROUP * (g % 2) + j;
            phy_store_u32(low_at, (run ? phy_load_u32(low_at) : 0) | (uint32_t)low[lane] << 2 * run);
            phy_store_u32(high_at, (g / 2 ? phy_load_u32(high_at) : 0) | (uint32_t)high[lane] << g / 2);
        }
    }
}

/* The 12 bytes drawn in src/quant/q3_k.c. */
static inline void put_q3_scales(const float *s, uint8_t *out)
{
    int codes[GROUPS];
    for (int g = 0; g < GROUPS; g++)
        codes[g] = (int)s[g] + 32;
    for (int n = 0; n < 8; n++)
        out[n] = (uint8_t)((codes[n] & 15) | (codes[n + 8] & 15) << 4);
    for (int n = 0; n < 4; n++)
        out[8 + n] =
            (uint8_t)(codes[n] >> 4 | codes[n + 4] >> 4 << 2 | codes[n + 8] >> 4 << 4 | codes[n + 12] >> 4 << 6);
}

static inline void encode_unit_q3_k(const float *from, uint8_t *out)
{
    enum { MASK_AT = 0, QS_AT = 32, SCALES_AT = 96, D_AT = 108 };
    struct symmetric_block u;
    encode_symmetric(&u, from, 4, 31, (struct tries){12, -3, -0.125f});
    for (int set = 0; set < SETS; set++) {
        ivec q[GROUP];
        final_codes(&u, set, q);
        put_three_bits(q, set, out + QS_AT, out + MASK_AT);
    }
    put_q3_scales(u.best_s, out + SCALES_AT);
    phy_store_u16(out + D_AT, phy_f16_round(u.best_d));
}

void FORM(phy_encode_q3_k)(const float *from, size_t blocks, uint8_t *out)
{
    encode_in_units(encode_unit_q3_k, 1, GROUPS * GROUP, 110, from, blocks, out);
}

void FORM(phy_encode_q6_k)(const float *from, size_t blocks, uint8_t *out)
{
    encode_in_units(encode_unit_q6_k, 1, GROUPS * GROUP, 210, from, blocks, out);
}
