/* SPDX-License-Identifier: Apache-2.0 */
/* Every form of attention against float64, in buffers with guard pages. PHY_SEED sets another seed. */
#include "support/test.h"

#include "kernels/attention.h"
#include "support/guarded.h"
#include "support/parity.h"

enum pattern { GAUSSIAN, EQUAL_KEYS, ONE_WINS, FAR_BELOW, ZEROS, GROWING, PATTERNS };

static const char *const pattern_names[] = {"gaussian", "equal keys", "one wins", "far below", "zeros", "growing"};

struct attention_case {
    uint64_t seed;
    size_t dim, positions;
    enum pattern pattern;
    bool at_end;
    struct guarded q, k, v, out, scores;
};

static float *fill(struct guarded *g, size_t count, bool at_end, float scale)
{
    *g = guarded_create(count * sizeof(float), at_end);
    float *values = g->data;
    for (size_t i = 0; i < count; i++)
        values[i] = scale * gaussian();
    return values;
}

static void case_make(struct attention_case *c)
{
    c->seed = parity_seed;
    const size_t dim = c->dim, values = dim * c->positions;
    float *q = fill(&c->q, dim, c->at_end, c->pattern == ZEROS ? 0.0f : 1.0f);
    float *k = fill(&c->k, values, c->at_end, 1.0f);
    fill(&c->v, values, c->at_end, 3.0f);
    fill(&c->out, dim, c->at_end, 1e9f);
    fill(&c->scores, c->positions, c->at_end, 1e9f);
    size_t winner = random_below((uint32_t)c->positions);
    for (size_t j = 0; j < c->positions; j++) {
        for (size_t d = 0; d < dim; d++) {
            float *key = &k[j * dim + d];
            switch (c->pattern) {
            case EQUAL_KEYS:
                *key = k[d];
                break;
            case ONE_WINS: /* some 10 above the others, which still count */
                *key = j == winner ? q[d] * 10.0f / sqrtf((float)dim) : *key * 0.5f;
                break;
            case FAR_BELOW: /* e^-100 and less of the first, beyond what an exponential in float32 reaches */
                *key = q[d] * (j == 0 ? 0.0f : -(float)(200 + j % 900));
                break;
            case GROWING: /* the largest score comes last */
                *key = q[d] * 20.0f * (float)(j + 1) / (float)(c->positions * dim);
                break;
            default:
                break;
            }
        }
    }
}

static void case_free(struct attention_case *c)
{
    guarded_destroy(&c->q);
    guarded_destroy(&c->k);
    guarded_destroy(&c->v);
    guarded_destroy(&c->out);
    guarded_destroy(&c->scores);
}

/* out (dim), and the largest |v|. */
static double attend_exactly(const float *q, const float *k, const float *v, size_t dim, size_t positions, float scale,
                             double *out)
{
    double *p = malloc(positions * sizeof *p), largest = -INFINITY, total = 0, most = 0;
    for (size_t j = 0; j < positions; j++) {
        p[j] = 0;
        for (size_t d = 0; d < dim; d++)
            p[j] += (double)q[d] * (double)k[j * dim + d];
        p[j] *= (double)scale;
        largest = fmax(largest, p[j]);
    }
    for (size_t j = 0; j < positions; j++)
        total += p[j] = exp(p[j] - largest);
    for (size_t d = 0; d < dim; d++) {
        out[d] = 0;
        for (size_t j = 0; j < positions; j++) {
            out[d] += p[j] / total * (double)v[j * dim + d];
            most = fmax(most, fabs((double)v[j * dim + d]));
        }
    }
    free(p);
    return most;
}

static void check_case(struct attention_case c, struct worst *worst)
{
    struct phy_cpu_features have = phy_cpu_detect();
    const float scale = 1.0f / sqrtf((float)c.dim);
    double expected[512];
    float first[512];
    char where[160];
    case_make(&c);
    double most = attend_exactly(c.q.data, c.k.data, c.v.data, c.dim, c.positions, scale, expected);
    for (const struct phy_attention_variant *v = phy_attention_variants; v->name; v++) {
        if (!phy_cpu_meets(&have, &v->needs))
            continue;
        snprintf(where, sizeof where, "%s, head of %zu, %zu positions, %s", v->name, c.dim, c.positions,
                 pattern_names[c.pattern]);
        for (int again = 0; again < 2; again++) {
            struct phy_attention attention = {.q = c.q.data,
                                              .k = c.k.data,
                                              .v = c.v.data,
                                              .head_dim = c.dim,
                                              .positions = c.positions,
                                              .scale = scale,
                                              .out = c.out.data,
                                              .scores = c.scores.data};
            v->run(&attention);
            if (!again)
                memcpy(first, attention.out, c.dim * sizeof *first);
            assert_memory_equal(first, attention.out, c.dim * sizeof *first);
            for (size_t d = 0; d < c.dim; d++)
                compare(worst, (double)attention.out[d], expected[d], 2e-5 * most, d, c.seed, where);
        }
    }
    case_free(&c);
}

static void matches_float64_for_every_head_size_and_length(void **state)
{
    static const size_t dims[] = {2, 6, 8, 15, 16, 24, 64, 80, 96, 128, 250, 256, 512};
    static const size_t lengths[] = {1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 33, 100, 1000};
    struct worst worst = {0};
    (void)state;
    for (size_t d = 0; d < sizeof dims / sizeof *dims; d++) {
        for (size_t l = 0; l < sizeof lengths / sizeof *lengths; l++)
            check_case((struct attention_case){.dim = dims[d], .positions = lengths[l], .at_end = (d + l) % 2 == 0},
                       &worst);
    }
    assert_true(report_worst(&worst, "shapes"));
}

static void matches_float64_for_every_pattern(void **state)
{
    static const size_t lengths[] = {1, 3, 16, 45, 700};
    struct worst worst = {0};
    (void)state;
    for (int p = 0; p < PATTERNS; p++) {
        for (size_t l = 0; l < sizeof lengths / sizeof *lengths; l++) {
            for (size_t dim = 16; dim <= 144; dim += 64)
                check_case(
                    (struct attention_case){
                        .dim = dim, .positions = lengths[l], .pattern = (enum pattern)p, .at_end = l % 2 == 0},
                    &worst);
        }
    }
    assert_true(report_worst(&worst, "patterns"));
}

static void matches_float64_over_a_long_context(void **state)
{
    struct worst worst = {0};
    (void)state;
    check_case((struct attention_case){.dim = 64, .positions = 20000}, &worst);
    check_case((struct attention_case){.dim = 64, .positions = 20000, .pattern = EQUAL_KEYS}, &worst);
    assert_true(report_worst(&worst, "long contexts"));
}

/* ---- neighbouring rows ---- */

struct rows_case {
    size_t dim, heads, rows, first, window;
    float key_scale; /* 20: a few keys take all the weight */
};

static void run_rows(const struct phy_attention_variant *v, const struct rows_case *c, const float *q, const float *k,
                     const float *values, struct guarded *scratch, float *out)
{
    const struct phy_attention_rows attention = {.q = q,
                                                 .out = out,
                                                 .row_stride = c->heads * c->dim,
                                                 .rows = c->rows,
                                                 .heads = c->heads,
                                                 .k = k,
                                                 .v = values,
                                                 .head_dim = c->dim,
                                                 .first = c->first,
                                                 .window = c->window,
                                                 .scale = 1.0f / sqrtf((float)c->dim),
                                                 .scratch = scratch->data};
    v->run_rows(&attention);
}

static void check_rows(const struct rows_case *c, bool at_end, struct worst *worst)
{
    struct phy_cpu_features have = phy_cpu_detect();
    const size_t width = c->heads * c->dim, positions = c->first + c->rows;
    struct guarded q, k, values, out, scratch;
    double expected[512];
    char where[160];
    fill(&q, c->rows * width, at_end, 1.0f);
    fill(&k, positions * c->dim, at_end, c->key_scale);
    fill(&values, positions * c->dim, at_end, 3.0f);
    fill(&out, c->rows * width, at_end, 1e9f);
    fill(&scratch, phy_attention_scratch(c->dim, positions), at_end, 1e9f);
    for (const struct phy_attention_variant *v = phy_attention_variants; v->name; v++) {
        if (!phy_cpu_meets(&have, &v->needs))
            continue;
        snprintf(where, sizeof where, "%s, head of %zu, %zu rows x %zu heads from %zu, window %zu", v->name, c->dim,
                 c->rows, c->heads, c->first, c->window);
        run_rows(v, c, q.data, k.data, values.data, &scratch, out.data);
        for (size_t i = 0; i < c->rows * c->heads; i++) {
            size_t end = c->first + i / c->heads + 1, begin = end > c->window ? end - c->window : 0;
            double most = attend_exactly((float *)q.data + i * c->dim, (float *)k.data + begin * c->dim,
                                         (float *)values.data + begin * c->dim, c->dim, end - begin,
                                         1.0f / sqrtf((float)c->dim), expected);
            for (size_t d = 0; d < c->dim; d++)
                compare(worst, (double)((float *)out.data)[i * c->dim + d], expected[d], 2e-5 * most, i * c->dim + d,
                        parity_seed, where);
        }
        /* A row alone gets the bits that it gets in company. */
        float *together = malloc(c->rows * width * sizeof *together);
        memcpy(together, out.data, c->rows * width * sizeof *together);
        for (size_t r = 0; r < c->rows; r++) {
            struct rows_case alone = *c;
            alone.rows = 1;
            alone.first = c->first + r;
            run_rows(v, &alone, (float *)q.data + r * width, k.data, values.data, &scratch,
                     (float *)out.data + r * width);
        }
        assert_memory_equal(together, out.data, c->rows * width * sizeof *together);
        free(together);
    }
    guarded_destroy(&q);
    guarded_destroy(&k);
    guarded_destroy(&values);
    guarded_destroy(&out);
    guarded_destroy(&scratch);
}

static void rows_match_float64_and_do_not_depend_on_their_neighbours(void **state)
{
    static const struct rows_case cases[] = {
        {64, 3, 21, 0, SIZE_MAX, 1},  {64, 3, 21, 235, SIZE_MAX, 1}, {64, 1, 64, 100, SIZE_MAX, 1},
        {64, 64, 1, 63, SIZE_MAX, 1}, {64, 4, 16, 64, SIZE_MAX, 20}, {256, 4, 16, 500, 512, 1},
        {256, 4, 16, 700, 512, 1},    {128, 8, 8, 40, 7, 20},        {80, 5, 12, 64, 64, 1},
        {96, 2, 5, 127, 1, 1},        {2, 1, 3, 0, SIZE_MAX, 1},     {6, 3, 7, 9, 5, 20},
        {15, 7, 9, 190, 130, 1},      {250, 2, 3, 62, SIZE_MAX, 1},  {24, 6, 10, 1000, SIZE_MAX, 20},
        {512, 1, 2, 64, 3, 1},
    };
    struct worst worst = {0};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        check_rows(&cases[i], i % 2 == 0, &worst);
    assert_true(report_worst(&worst, "rows"));
}

/* Rows see the spoilt key from `spoilt` on: those are not finite in any element, the others are in all. */
static void check_spoilt(const struct rows_case *c, size_t spoilt, float value, bool in_query)
{
    struct phy_cpu_features have = phy_cpu_detect();
    const size_t width = c->heads * c->dim, positions = c->first + c->rows;
    struct guarded q, k, values, out, scratch;
    float *queries = fill(&q, c->rows * width, true, 1.0f), *keys = fill(&k, positions * c->dim, true, 1.0f);
    fill(&values, positions * c->dim, true, 3.0f);
    fill(&out, c->rows * width, true, 1e9f);
    fill(&scratch, phy_attention_scratch(c->dim, positions), true, 1e9f);
    if (in_query)
        queries[(spoilt - c->first) * width + 1] = value;
    else
        keys[spoilt * c->dim + 1] = value;
    for (const struct phy_attention_variant *v = phy_attention_variants; v->name; v++) {
        if (!phy_cpu_meets(&have, &v->needs))
            continue;
        run_rows(v, c, queries, keys, values.data, &scratch, out.data);
        for (size_t i = 0; i < c->rows * width; i++) {
            const size_t row = i / width, head = i % width / c->dim;
            const bool wrong = in_query ? row + c->first == spoilt && head == 0 : row + c->first >= spoilt;
            /* An infinite product may be -infinity, which only takes that key's weight. */
            const bool may_be_finite = isinf(value) && !in_query;
            if (isfinite(((float *)out.data)[i]) == wrong && !(wrong && may_be_finite))
                fail_msg("%s, head of %zu, %zu rows from %zu: element %zu of a %s that holds %g at %zu is %g", v->name,
                         c->dim, c->rows, c->first, i, in_query ? "query" : "key", (double)value, spoilt,
                         (double)((float *)out.data)[i]);
        }
    }
    guarded_destroy(&q);
    guarded_destroy(&k);
    guarded_destroy(&values);
    guarded_destroy(&out);
    guarded_destroy(&scratch);
}

static void what_is_no_number_is_never_weighed_away(void **state)
{
    static const struct rows_case cases[] = {{64, 3, 21, 0, SIZE_MAX, 1},
                                             {64, 1, 1, 70, SIZE_MAX, 1},
                                             {15, 7, 9, 190, SIZE_MAX, 1},
                                             {16, 2, 30, 120, SIZE_MAX, 1}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const size_t first = cases[i].first, last = first + cases[i].rows - 1;
        const size_t places[] = {0, first, (first + last) / 2, last};
        for (size_t p = 0; p < 4; p++) {
            check_spoilt(&cases[i], places[p], NAN, false);
            check_spoilt(&cases[i], places[p], INFINITY, false);
            if (places[p] >= first)
                check_spoilt(&cases[i], places[p], NAN, true);
        }
    }
    /* One query at a time, as a decoded token is. */
    struct phy_cpu_features have = phy_cpu_detect();
    for (const struct phy_attention_variant *v = phy_attention_variants; v->name; v++) {
        if (!phy_cpu_meets(&have, &v->needs))
            continue;
        for (size_t positions = 1; positions < 40; positions++) {
            for (size_t at = 0; at < positions; at++) {
                struct attention_case c = {.dim = 24, .positions = positions, .at_end = true};
                case_make(&c);
                ((float *)c.k.data)[at * c.dim + 2] = NAN;
                v->run(&(struct phy_attention){.q = c.q.data,
                                               .k = c.k.data,
                                               .v = c.v.data,
                                               .head_dim = c.dim,
                                               .positions = positions,
                                               .scale = 0.2f,
                                               .out = c.out.data,
                                               .scores = c.scores.data});
                for (size_t d = 0; d < c.dim; d++)
                    assert_true(isnan(((float *)c.out.data)[d]));
                case_free(&c);
            }
        }
    }
}

static void the_table_names_each_form_once(void **state)
{
    (void)state;
    assert_string_equal(phy_attention_variants[0].name, "ref");
    for (const struct phy_attention_variant *v = phy_attention_variants; v->name; v++)
        assert_ptr_equal(phy_attention_variant_named(v->name), v);
    assert_null(phy_attention_variant_named("sse9"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_table_names_each_form_once),
        cmocka_unit_test(matches_float64_for_every_head_size_and_length),
        cmocka_unit_test(matches_float64_for_every_pattern),
        cmocka_unit_test(matches_float64_over_a_long_context),
        cmocka_unit_test(rows_match_float64_and_do_not_depend_on_their_neighbours),
        cmocka_unit_test(what_is_no_number_is_never_weighed_away),
    };
    parity_begin();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
