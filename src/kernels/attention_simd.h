/* SPDX-License-Identifier: Apache-2.0 */
/* Body of the SIMD forms of attention, included after vec_<form>.h and
 *
 *   TILE_VECS, TILE_COUNT   the register tile of rows: TILE_VECS vectors x TILE_COUNT queries
 *
 * Scores below the largest by 87 or more count as e^-87, which no sum can tell from 0. */
#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "kernels/vec_math.h"

INLINE float dot(const float *a, const float *b, size_t dim)
{
    vec sum = vec_zero();
    size_t d = 0;
    for (; d + LANES <= dim; d += LANES)
        sum = vec_fma(vec_load(a + d), vec_load(b + d), sum);
    float total = vec_sum(sum);
    for (; d < dim; d++)
        total += a[d] * b[d];
    return total;
}

/* scores[0..3] of four keys at a time: four sums hide the latency. */
INLINE void dot4(const float *q, const float *k, size_t dim, float *out)
{
    vec sum[4] = {vec_zero(), vec_zero(), vec_zero(), vec_zero()};
    size_t d = 0;
    for (; d + LANES <= dim; d += LANES) {
        vec qd = vec_load(q + d);
        UNROLL
        for (size_t j = 0; j < 4; j++)
            sum[j] = vec_fma(qd, vec_load(k + j * dim + d), sum[j]);
    }
    for (size_t j = 0; j < 4; j++) {
        float total = vec_sum(sum[j]);
        for (size_t e = d; e < dim; e++)
            total += q[e] * k[j * dim + e];
        out[j] = total;
    }
}

INLINE float softmax(float *scores, size_t positions, float scale, float largest)
{
    vec sum = vec_zero(), shift = vec_set1(-largest), scales = vec_set1(scale);
    size_t j = 0;
    for (; j + LANES <= positions; j += LANES) {
        vec p = vec_exp(vec_fma(vec_load(scores + j), scales, shift));
        vec_store(scores + j, p);
        sum = vec_add(sum, p);
    }
    float total = vec_sum(sum);
    if (j < positions) {
        float lanes[LANES] = {0};
        memcpy(lanes, scores + j, (positions - j) * sizeof *lanes);
        vec_store(lanes, vec_exp(vec_fma(vec_load(lanes), scales, shift)));
        for (size_t i = 0; j + i < positions; i++) {
            scores[j + i] = lanes[i];
            total += lanes[i];
        }
    }
    return total;
}

/* out[d0 .. d0 + 4 vectors) */
INLINE void weigh(const struct phy_attention *attention, size_t d0, size_t vecs, float inverse)
{
    const size_t dim = attention->head_dim;
    vec sum[4] = {vec_zero(), vec_zero(), vec_zero(), vec_zero()};
    for (size_t j = 0; j < attention->positions; j++) {
        vec p = vec_set1(attention->scores[j]);
        UNROLL
        for (size_t i = 0; i < vecs; i++)
            sum[i] = vec_fma(p, vec_load(attention->v + j * dim + d0 + i * LANES), sum[i]);
    }
    UNROLL
    for (size_t i = 0; i < vecs; i++)
        vec_store(attention->out + d0 + i * LANES, vec_mul(sum[i], vec_set1(inverse)));
}

void FORM(phy_attention)(const struct phy_attention *attention)
{
    const size_t dim = attention->head_dim, positions = attention->positions;
    float *scores = attention->scores;
    size_t j = 0;
    for (; j + 4 <= positions; j += 4)
        dot4(attention->q, attention->k + j * dim, dim, scores + j);
    for (; j < positions; j++)
        scores[j] = dot(attention->q, attention->k + j * dim, dim);
    float largest = scores[0];
    if (positions >= LANES) {
        vec most = vec_load(scores);
        for (j = LANES; j + LANES <= positions; j += LANES)
            most = vec_max(most, vec_load(scores + j));
        largest = vec_largest(most);
    }
    for (j = positions - positions % LANES; j < positions; j++)
        largest = scores[j] > largest ? scores[j] : largest;
    float inverse = 1.0f / softmax(scores, positions, attention->scale, largest * attention->scale);
    size_t d = 0;
    for (; d + 4 * LANES <= dim; d += 4 * LANES)
        weigh(attention, d, 4, inverse);
    for (; d + LANES <= dim; d += LANES)
        weigh(attention, d, 1, inverse);
    for (; d < dim; d++) {
        float sum = 0;
        for (j = 0; j < positions; j++)
            sum += scores[j] * attention->v[j * dim + d];
        attention->out[d] = sum * inverse;
    }
}

/* ---- neighbouring rows ---- */

enum { KEYS = PHY_ATTENTION_KEYS, QUERIES = PHY_ATTENTION_MAX_QUERIES };

/* Some queries: the part of their work that is under way in registers. */
struct tile_rows {
    float *to[TILE_COUNT];
    const float *from[TILE_COUNT];
};

/* to[j][0 .. vecs) = or += sum over k < steps of from[j][k] * b[k][0 .. vecs); b's rows are b_stride apart. */
INLINE void tile(const struct tile_rows *rows, size_t count, const float *b, size_t b_stride, size_t steps, size_t vecs,
                 bool add)
{
    vec sum[TILE_COUNT][TILE_VECS];
    const float *from[TILE_COUNT];
    UNROLL
    for (size_t j = 0; j < count; j++) {
        from[j] = rows->from[j];
        UNROLL
        for (size_t i = 0; i < vecs; i++)
            sum[j][i] = vec_zero();
    }
    for (size_t k = 0; k < steps; k++) {
        vec bk[TILE_VECS];
        UNROLL
        for (size_t i = 0; i < vecs; i++)
            bk[i] = vec_load(b + k * b_stride + i * LANES);
        UNROLL
        for (size_t j = 0; j < count; j++) {
            vec a = vec_set1(from[j][k]);
            UNROLL
            for (size_t i = 0; i < vecs; i++)
                sum[j][i] = vec_fma(a, bk[i], sum[j][i]);
        }
    }
    UNROLL
    for (size_t j = 0; j < count; j++) {
        UNROLL
        for (size_t i = 0; i < vecs; i++) {
            float *to = rows->to[j] + i * LANES;
            vec_store(to, add ? vec_add(vec_load(to), sum[j][i]) : sum[j][i]);
        }
    }
}

/* Where a query and its result are, and the end of the keys that it sees: a division for each block would cost a tenth
 * of the work. */
struct query {
    size_t at, end;
};

struct block {
    const struct phy_attention_rows *a;
    float *turned, *scores, *largest, *total; /* in the scratch */
    size_t begin, end;                        /* keys */
    struct query queries[QUERIES];
};

INLINE void place_queries(struct block *b)
{
    const struct phy_attention_rows *a = b->a;
    struct query *query = b->queries;
    for (size_t row = 0; row < a->rows; row++) {
        for (size_t head = 0; head < a->heads; head++)
            *query++ = (struct query){row * a->row_stride + head * a->head_dim, a->first + row + 1};
    }
}

/* The keys that a query sees in this block, counted from its begin; from == to: none. */
INLINE void visible(const struct block *b, size_t query, size_t *from, size_t *to)
{
    size_t end = b->queries[query].end, begin = end > b->a->window ? end - b->a->window : 0;
    *to = end < b->end ? (end > b->begin ? end - b->begin : 0) : b->end - b->begin;
    *from = begin > b->begin ? begin - b->begin : 0;
    if (*from > *to)
        *from = *to;
}

/* turned[d][key]; keys past the end are zero. */
INLINE void turn_keys(const struct block *b)
{
    const size_t dim = b->a->head_dim, count = b->end - b->begin;
    const float *k = b->a->k + b->begin * dim;
    for (size_t key = 0; key < KEYS; key += LANES) {
        size_t d = 0;
        for (; d + LANES <= dim; d += LANES) {
            vec lanes[LANES];
            for (size_t i = 0; i < LANES; i++)
                lanes[i] = key + i < count ? vec_load(k + (key + i) * dim + d) : vec_zero();
            vec_transpose(lanes);
            for (size_t i = 0; i < LANES; i++)
                vec_store(b->turned + (d + i) * KEYS + key, lanes[i]);
        }
        for (; d < dim; d++) {
            for (size_t i = 0; i < LANES; i++)
                b->turned[d * KEYS + key + i] = key + i < count ? k[(key + i) * dim + d] : 0.0f;
        }
    }
}

/* The keys of this block up to the last that one of these queries sees. */
INLINE size_t seen_keys(const struct block *b, size_t query, size_t count)
{
    size_t from, to;
    visible(b, query + count - 1, &from, &to);
    return to;
}

/* Scores of the keys that these queries see; of others, at most to the next TILE_VECS / 2 vectors. */
INLINE void score_tile(const struct block *b, size_t query, size_t count)
{
    const size_t keys = seen_keys(b, query, count), half = TILE_VECS / 2 * LANES;
    struct tile_rows rows;
    for (size_t key = 0; key < keys; key += 2 * half) {
        UNROLL
        for (size_t j = 0; j < count; j++) {
            rows.from[j] = b->a->q + b->queries[query + j].at;
            rows.to[j] = b->scores + (query + j) * KEYS + key;
        }
        if (keys - key > half)
            tile(&rows, count, b->turned + key, KEYS, b->a->head_dim, TILE_VECS, false);
        else
            tile(&rows, count, b->turned + key, KEYS, b->a->head_dim, TILE_VECS / 2, false);
    }
}

/* One query's scores become weights against its largest score so far; what it has summed up is brought down to that. */
INLINE void weigh_scores(struct block *b, size_t query)
{
    float *scores = b->scores + query * KEYS, *out = b->a->out + b->queries[query].at;
    size_t from, to;
    visible(b, query, &from, &to);
    if (from == to) {
        memset(scores, 0, KEYS * sizeof *scores);
        return;
    }
    for (size_t j = 0; j < from; j++)
        scores[j] = scores[from];
    for (size_t j = to; j < KEYS; j++)
        scores[j] = scores[from];
    vec most = vec_load(scores);
    for (size_t j = LANES; j < KEYS; j += LANES)
        most = vec_max(most, vec_load(scores + j));
    const float here = vec_largest(most) * b->a->scale, largest = here > b->largest[query] ? here : b->largest[query];
    vec shift = vec_set1(-largest), scales = vec_set1(b->a->scale);
    for (size_t j = 0; j < KEYS; j += LANES)
        vec_store(scores + j, vec_exp(vec_fma(vec_load(scores + j), scales, shift)));
    if (from > 0)
        memset(scores, 0, from * sizeof *scores);
    if (to < KEYS)
        memset(scores + to, 0, (KEYS - to) * sizeof *scores);
    vec sum = vec_zero();
    for (size_t j = 0; j < KEYS; j += LANES)
        sum = vec_add(sum, vec_load(scores + j));
    float less = 1.0f;
    if (largest > b->largest[query]) {
        float lanes[LANES];
        vec_store(lanes, vec_exp(vec_set1(b->largest[query] - largest)));
        less = b->total[query] > 0 ? lanes[0] : 0.0f;
        for (size_t d = 0; b->total[query] > 0 && d < b->a->head_dim; d++)
            out[d] *= less;
        b->largest[query] = largest;
    }
    b->total[query] = b->total[query] * less + vec_sum(sum);
}

INLINE void value_tile(const struct block *b, size_t query, size_t count)
{
    const size_t dim = b->a->head_dim, keys = seen_keys(b, query, count);
    const float *v = b->a->v + b->begin * dim;
    struct tile_rows rows;
    size_t d = 0;
    if (keys == 0)
        return;
    UNROLL
    for (size_t j = 0; j < count; j++) {
        rows.from[j] = b->scores + (query + j) * KEYS;
        rows.to[j] = b->a->out + b->queries[query + j].at;
    }
    while (d + LANES <= dim) {
        const size_t vecs = d + TILE_VECS * LANES <= dim ? TILE_VECS : 1;
        if (vecs == TILE_VECS)
            tile(&rows, count, v + d, dim, keys, TILE_VECS, true);
        else
            tile(&rows, count, v + d, dim, keys, 1, true);
        d += vecs * LANES;
        UNROLL
        for (size_t j = 0; j < count; j++)
            rows.to[j] += vecs * LANES;
    }
    for (; d < dim; d++) {
        for (size_t j = 0; j < count; j++) {
            float sum = 0;
            for (size_t key = 0; key < keys; key++)
                sum += rows.from[j][key] * v[key * dim + d];
            *rows.to[j]++ += sum;
        }
    }
}

/* Blocks of keys one after another; each query keeps its largest score and the sum of its weights so far. */
void FORM(phy_attention_rows)(const struct phy_attention_rows *attention)
{
    const struct phy_attention_rows *a = attention;
    const size_t queries = a->rows * a->heads, end = a->first + a->rows;
    const size_t begin = a->first + 1 > a->window ? a->first + 1 - a->window : 0;
    struct block b;
    b.a = a;
    b.turned = a->scratch;
    place_queries(&b);
    b.scores = b.turned + a->head_dim * KEYS;
    b.largest = b.scores + QUERIES * KEYS;
    b.total = b.largest + QUERIES;
    for (size_t query = 0; query < queries; query++) {
        b.largest[query] = -INFINITY;
        b.total[query] = 0;
        memset(a->out + b.queries[query].at, 0, a->head_dim * sizeof *a->out);
    }
    for (b.begin = begin - begin % KEYS; b.begin < end; b.begin += KEYS) {
        b.end = end - b.begin < KEYS ? end : b.begin + KEYS;
        turn_keys(&b);
        size_t query = 0;
        for (; query + TILE_COUNT <= queries; query += TILE_COUNT)
            score_tile(&b, query, TILE_COUNT);
        for (; query < queries; query++)
            score_tile(&b, query, 1);
        for (query = 0; query < queries; query++)
            weigh_scores(&b, query);
        for (query = 0; query + TILE_COUNT <= queries; query += TILE_COUNT)
            value_tile(&b, query, TILE_COUNT);
        for (; query < queries; query++)
            value_tile(&b, query, 1);
    }
    for (size_t query = 0; query < queries; query++) {
        float *out = a->out + b.queries[query].at, inverse = 1.0f / b.total[query];
        for (size_t d = 0; d < a->head_dim; d++)
            out[d] *= inverse;
    }
}
