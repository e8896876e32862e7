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
static double attend_exactly(const struct attention_case *c, float scale, double *out)
{
    const float *q = c->q.data, *k = c->k.data, *v = c->v.data;
    double *p = malloc(c->positions * sizeof *p), largest = -INFINITY, total = 0, most = 0;
    for (size_t j = 0; j < c->positions; j++) {
        p[j] = 0;
        for (size_t d = 0; d < c->dim; d++)
            p[j] += (double)q[d] * (double)k[j * c->dim + d];
        p[j] *= (double)scale;
        largest = fmax(largest, p[j]);
    }
    for (size_t j = 0; j < c->positions; j++)
        total += p[j] = exp(p[j] - largest);
    for (size_t d = 0; d < c->dim; d++) {
        out[d] = 0;
        for (size_t j = 0; j < c->positions; j++) {
            out[d] += p[j] / total * (double)v[j * c->dim + d];
            most = fmax(most, fabs((double)v[j * c->dim + d]));
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
    double most = attend_exactly(&c, scale, expected);
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
    };
    parity_begin();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
