/* SPDX-License-Identifier: Apache-2.0 */
/* Codes of a block of 256 that decodes to (d*s)*q - (dmin*m). One lane is one group.
 *
 * Least squared error, searched in three steps (docs/quant.md, "The encoders here"):
 *   1. each group by itself: grids of levels from a little below its least to a little above its largest entry, each
 *      refitted by least squares to the levels that it gave; the best is kept and refitted once more;
 *   2. d and dmin from the largest scale and offset; then each group's s and m among their neighbours, the entries
 *      rounded anew for each pair;
 *   3. d and dmin refitted by least squares to all codes of the block, and step 2 again; the better block is kept.
 *
 * Included after one of quant/lanes_*.h, quant/encode_units.h, and
 *   GROUPS, GROUP   groups of a block and entries of a group
 *   ends[]          step 1: by how many steps of the plain grid the ends of those tried lie within the entries' ends */
#include <math.h>

/* What is stored is -offset: m = -offset / dmin; and dmin takes the sign of `side`, so that a group's offset is not
 * above zero for side +1, not below for side -1. */
struct affine_fit {
    vec error, scale, offset;
};

enum { UNIT_GROUPS = (int)GROUPS > (int)LANES ? (int)GROUPS : (int)LANES };
enum { SETS = UNIT_GROUPS / LANES, UNIT_BLOCKS = UNIT_GROUPS / GROUPS };

/* A unit: its groups' entries, lane by lane, and what is known of each group. */
struct affine_unit {
    float most_level;
    vec x[SETS][GROUP];
    float low[UNIT_GROUPS], high[UNIT_GROUPS], side[UNIT_GROUPS];
    float scale[UNIT_GROUPS], offset[UNIT_GROUPS];     /* after step 1 */
    float d[UNIT_BLOCKS], dmin[UNIT_BLOCKS];           /* tried */
    float s[UNIT_GROUPS], m[UNIT_GROUPS];              /* tried */
    float error[UNIT_GROUPS];                          /* of the group so encoded, and sums over it: */
    float q_sum[UNIT_GROUPS], qq_sum[UNIT_GROUPS];     /* q and q*q */
    float xq_sum[UNIT_GROUPS], x_sum[UNIT_GROUPS];     /* x*q and x */
    float best_error[UNIT_BLOCKS];                     /* of what follows: */
    float best_d[UNIT_BLOCKS], best_dmin[UNIT_BLOCKS]; /* dmin with its sign */
    float best_s[UNIT_GROUPS], best_m[UNIT_GROUPS];
};

/* A group for step 1: entries less the middle of their range, so that sums of squares lose nothing to it. */
struct centred {
    vec x[GROUP], middle, sum, square_sum;
};

static inline void centre_group(const vec *x, vec low, vec high, struct centred *out)
{
    out->middle = vec_mul(vec_add(low, high), vec_set1(0.5f));
    out->sum = out->square_sum = vec_set1(0);
    for (int j = 0; j < GROUP; j++) {
        out->x[j] = vec_sub(x[j], out->middle);
        out->sum = vec_add(out->sum, out->x[j]);
        out->square_sum = vec_add(out->square_sum, vec_mul(out->x[j], out->x[j]));
    }
}

/* Levels 0 .. most_level at low + step * level. t is an entry and l its level in steps from the middle level. */
static inline __attribute__((always_inline)) void try_grid(const struct centred *group, float most_level, vec low,
                                                           vec step, vec side, struct affine_fit *best)
{
    const vec zero = vec_set1(0), n = vec_set1(GROUP), middle = vec_set1((most_level + 1) / 2);
    const vec least = vec_sub(zero, middle), most = vec_add(least, vec_set1(most_level));
    const vec inverse = finite_inverse(step);
    const vec start = vec_add(vec_mul(vec_sub(low, group->middle), inverse), middle);
    vec l_sum = zero, ll_sum = zero, tl_sum = zero;
    for (int j = 0; j < GROUP; j++) {
        const vec t = vec_sub(vec_mul(group->x[j], inverse), start), l = nearest(clamped(t, least, most));
        l_sum = vec_add(l_sum, l);
        ll_sum = vec_add(ll_sum, vec_mul(l, l));
        tl_sum = vec_add(tl_sum, vec_mul(t, l));
    }
    const vec x_sum = vec_mul(group->sum, inverse), start_sum = vec_mul(n, start);
    const vec t_sum = vec_sub(x_sum, start_sum);
    const vec tt_sum =
        vec_sub(vec_mul(group->square_sum, vec_mul(inverse, inverse)), vec_mul(start, vec_add(x_sum, t_sum)));
    /* t = a + b*l */
    const vec spread = vec_sub(vec_mul(n, ll_sum), vec_mul(l_sum, l_sum));
    const vec b = vec_div(vec_sub(vec_mul(n, tl_sum), vec_mul(t_sum, l_sum)), spread);
    const vec a = vec_div(vec_sub(t_sum, vec_mul(b, l_sum)), n);
    const vec error = vec_sub(tt_sum, vec_add(vec_mul(a, t_sum), vec_mul(b, tl_sum)));
    const vec offset = vec_add(low, vec_mul(step, vec_add(vec_sub(a, vec_mul(b, middle)), middle)));
    /* Where that is on the wrong side of zero: t + zero_at = b0 * (l + middle). */
    const vec zero_at = vec_add(vec_mul(low, inverse), middle);
    const vec tt0 = vec_add(tt_sum, vec_mul(zero_at, vec_add(vec_add(t_sum, t_sum), vec_mul(n, zero_at))));
    const vec ll0 = vec_add(ll_sum, vec_mul(middle, vec_add(vec_add(l_sum, l_sum), vec_mul(n, middle))));
    const vec tl0 =
        vec_add(vec_add(tl_sum, vec_mul(middle, t_sum)), vec_mul(zero_at, vec_add(l_sum, vec_mul(n, middle))));
    const vec b0 = vec_div(tl0, ll0), error0 = vec_sub(tt0, vec_mul(b0, tl0));

    const mask wrong = vec_less(zero, vec_mul(offset, side));
    const vec found = vec_mul(vec_select(wrong, error0, error), vec_mul(step, step));
    const mask better = vec_less(found, best->error);
    best->error = vec_select(better, found, best->error);
    best->scale = vec_select(better, vec_mul(step, vec_select(wrong, b0, b)), best->scale);
    best->offset = vec_select(better, vec_select(wrong, zero, offset), best->offset);
}

enum { ENDS = sizeof ends / sizeof *ends };

static inline struct affine_fit fit_group(const vec *x, float most_level, vec low, vec high, vec side)
{
    struct centred group;
    centre_group(x, low, high, &group);
    const vec step = vec_div(vec_sub(high, low), vec_set1(most_level));
    struct affine_fit best = {vec_set1(INFINITY), step, low};
    for (int i = 0; i < ENDS; i++) {
        for (int k = 0; k < ENDS; k++) {
            const vec narrower = vec_set1(1 - (ends[i] + ends[k]) / most_level);
            try_grid(&group, most_level, vec_add(low, vec_mul(step, vec_set1(ends[i]))), vec_mul(step, narrower), side,
                     &best);
        }
    }
    const struct affine_fit start = best;
    try_grid(&group, most_level, start.offset, start.scale, side, &best);
    /* A group of one value has no scale. */
    best.scale = vec_max(best.scale, vec_set1(0));
    return best;
}

/* What multiplies in a group's decoding, and what it takes to get to its codes. */
struct affine_grid {
    vec inverse, start, most, square;
};

static inline struct affine_grid grid_of(vec scale, vec minimum, float most_level)
{
    const vec zero = vec_set1(0), one = vec_set1(1);
    const mask some = vec_less(zero, scale);
    const vec inverse = vec_select(some, finite_inverse(scale), one);
    return (struct affine_grid){inverse, vec_mul(minimum, inverse), vec_select(some, vec_set1(most_level), zero),
                                vec_select(some, vec_mul(scale, scale), one)};
}

static inline vec error_on_grid(const vec *x, const struct affine_grid *grid)
{
    const vec zero = vec_set1(0);
    vec sum = zero;
    for (int j = 0; j < GROUP; j++) {
        const vec t = vec_add(vec_mul(x[j], grid->inverse), grid->start);
        const vec left = vec_sub(t, nearest(clamped(t, zero, grid->most)));
        sum = vec_add(sum, vec_mul(left, left));
    }
    return vec_mul(sum, grid->square);
}

static const float near[] = {-1, 0, 1};

/* Step 2 for a set of lanes. */
static inline void search_codes(struct affine_unit *u, int set, float most_code)
{
    const int at = set * LANES;
    float d_lanes[LANES], dmin_lanes[LANES];
    for (int lane = 0; lane < LANES; lane++) {
        d_lanes[lane] = u->d[(at + lane) / GROUPS];
        dmin_lanes[lane] = u->dmin[(at + lane) / GROUPS] * u->side[at + lane];
    }
    const vec zero = vec_set1(0), limit = vec_set1(most_code), d = vec_load(d_lanes), dmin = vec_load(dmin_lanes);
    const vec s0 = nearest(clamped(vec_mul(vec_load(u->scale + at), finite_inverse(d)), zero, limit));
    const vec m0 =
        nearest(clamped(vec_mul(vec_sub(zero, vec_load(u->offset + at)), finite_inverse(dmin)), zero, limit));
    vec error = vec_set1(INFINITY), s = s0, m = m0;
    for (size_t i = 0; i < sizeof near / sizeof *near; i++) {
        const vec s_tried = clamped(vec_add(s0, vec_set1(near[i])), zero, limit), scale = vec_mul(d, s_tried);
        for (size_t k = 0; k < sizeof near / sizeof *near; k++) {
            const vec m_tried = clamped(vec_add(m0, vec_set1(near[k])), zero, limit);
            const struct affine_grid grid = grid_of(scale, vec_mul(dmin, m_tried), u->most_level);
            const vec found = error_on_grid(u->x[set], &grid);
            const mask better = vec_less(found, error);
            error = vec_select(better, found, error);
            s = vec_select(better, s_tried, s);
            m = vec_select(better, m_tried, m);
        }
    }
    vec_store(u->error + at, error);
    vec_store(u->s + at, s);
    vec_store(u->m + at, m);
    const struct affine_grid grid = grid_of(vec_mul(d, s), vec_mul(dmin, m), u->most_level);
    vec q_sum = zero, qq_sum = zero, xq_sum = zero, x_sum = zero;
    for (int j = 0; j < GROUP; j++) {
        const vec x = u->x[set][j];
        const vec q = nearest(clamped(vec_add(vec_mul(x, grid.inverse), grid.start), zero, grid.most));
        q_sum = vec_add(q_sum, q);
        qq_sum = vec_add(qq_sum, vec_mul(q, q));
        xq_sum = vec_add(xq_sum, vec_mul(x, q));
        x_sum = vec_add(x_sum, x);
    }
    vec_store(u->q_sum + at, q_sum);
    vec_store(u->qq_sum + at, qq_sum);
    vec_store(u->xq_sum + at, xq_sum);
    vec_store(u->x_sum + at, x_sum);
}

static inline void keep_better(struct affine_unit *u, int block)
{
    const int at = block * GROUPS;
    float error = 0;
    for (int g = 0; g < GROUPS; g++)
        error += u->error[at + g];
    if (!(error < u->best_error[block]))
        return;
    u->best_error[block] = error;
    u->best_d[block] = u->d[block];
    u->best_dmin[block] = u->dmin[block] * u->side[at];
    for (int g = 0; g < GROUPS; g++) {
        u->best_s[at + g] = u->s[at + g];
        u->best_m[at + g] = u->m[at + g];
    }
}

/* Step 3: x = d * (s*q) + dmin * (-m) over the block. A step that has no better value stays. */
static inline void refit_block(struct affine_unit *u, int block)
{
    const int at = block * GROUPS;
    double aa = 0, ab = 0, bb = 0, xa = 0, xb = 0;
    for (int g = 0; g < GROUPS; g++) {
        const double s = (double)u->s[at + g], m = (double)(-u->m[at + g] * u->side[at]);
        aa += s * s * (double)u->qq_sum[at + g];
        ab += s * m * (double)u->q_sum[at + g];
        bb += m * m * GROUP;
        xa += s * (double)u->xq_sum[at + g];
        xb += m * (double)u->x_sum[at + g];
    }
    const double spread = aa * bb - ab * ab;
    const float d = (float)(spread > 0 ? (xa * bb - xb * ab) / spread : xa / aa);
    const float dmin = (float)(spread > 0 ? (xb * aa - xa * ab) / spread : xb / bb);
    if (d > 0 && d < 65504)
        u->d[block] = phy_f16_widen(phy_f16_round(d));
    if (dmin > 0 && dmin < 65504)
        u->dmin[block] = phy_f16_widen(phy_f16_round(dmin));
}

/* Ends of each group, and on which side of zero its block's offsets lie. */
static inline void load_unit(struct affine_unit *u, const float *from)
{
    /* Beyond what the largest scales reach; squares of it are finite. */
    const vec most = vec_set1(0x1p27f), least = vec_set1(-0x1p27f);
    for (int set = 0; set < SETS; set++) {
        vec *x = u->x[set];
        lanes_transpose(from + set * LANES * GROUP, GROUP, GROUP, x);
        vec low = most, high = least;
        for (int j = 0; j < GROUP; j++) {
            x[j] = clamped(x[j], least, most);
            low = vec_min(x[j], low);
            high = vec_max(x[j], high);
        }
        vec_store(u->low + set * LANES, low);
        vec_store(u->high + set * LANES, high);
    }
    for (int block = 0; block < UNIT_BLOCKS; block++) {
        const int at = block * GROUPS;
        bool all_above = true;
        for (int g = 0; g < GROUPS; g++)
            all_above = all_above && u->low[at + g] > 0;
        for (int g = 0; g < GROUPS; g++) {
            u->side[at + g] = all_above ? -1 : 1;
            if (!all_above && u->low[at + g] > 0)
                u->low[at + g] = 0;
        }
    }
}

static inline void start_block(struct affine_unit *u, int block, float most_code)
{
    float scale = 0, offset = 0;
    for (int g = block * GROUPS; g < (block + 1) * GROUPS; g++) {
        scale = u->scale[g] > scale ? u->scale[g] : scale;
        offset = -u->offset[g] * u->side[g] > offset ? -u->offset[g] * u->side[g] : offset;
    }
    u->d[block] = scale_to_reach(scale, most_code);
    u->dmin[block] = scale_to_reach(offset, most_code);
    u->best_error[block] = INFINITY;
    u->best_d[block] = u->best_dmin[block] = 0;
    for (int g = block * GROUPS; g < (block + 1) * GROUPS; g++)
        u->best_s[g] = u->best_m[g] = 0;
}

/* Steps 1 to 3. */
static inline __attribute__((always_inline)) void encode_affine(struct affine_unit *u, const float *from,
                                                                float most_level, float most_code)
{
    u->most_level = most_level;
    load_unit(u, from);
    for (int set = 0; set < SETS; set++) {
        const int at = set * LANES;
        const struct affine_fit fit =
            fit_group(u->x[set], most_level, vec_load(u->low + at), vec_load(u->high + at), vec_load(u->side + at));
        vec_store(u->scale + at, fit.scale);
        vec_store(u->offset + at, fit.offset);
    }
    for (int block = 0; block < UNIT_BLOCKS; block++)
        start_block(u, block, most_code);
    for (int round = 0; round < 2; round++) {
        for (int set = 0; set < SETS; set++)
            search_codes(u, set, most_code);
        for (int block = 0; block < UNIT_BLOCKS; block++) {
            keep_better(u, block);
            refit_block(u, block);
        }
    }
}

/* Codes of the set's groups. */
static inline void final_codes(const struct affine_unit *u, int set, ivec *q)
{
    float scale[LANES], minimum[LANES];
    for (int lane = 0; lane < LANES; lane++) {
        const int g = set * LANES + lane;
        scale[lane] = u->best_d[g / GROUPS] * u->best_s[g];
        minimum[lane] = u->best_dmin[g / GROUPS] * u->best_m[g];
    }
    const struct affine_grid grid = grid_of(vec_load(scale), vec_load(minimum), u->most_level);
    for (int j = 0; j < GROUP; j++) {
        const vec t = vec_add(vec_mul(u->x[set][j], grid.inverse), grid.start);
        q[j] = vec_trunc(nearest(clamped(t, vec_set1(0), grid.most)));
    }
}
