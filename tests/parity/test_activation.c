/* SPDX-License-Identifier: Apache-2.0 */
/* Every form of the activations, the log-sum and KL against float64, in buffers with guard pages. PHY_SEED sets another
 * seed. */
#include "support/test.h"

#include "kernels/activation.h"
#include "support/guarded.h"
#include "support/parity.h"

static const size_t counts[] = {1, 2, 7, 8, 9, 15, 16, 17, 31, 33, 176, 1000, 1024, 1025, 5000};
enum { COUNTS = sizeof counts / sizeof *counts };

static double act_exactly(enum phy_activation activation, double x)
{
    if (activation == PHY_ACT_SILU)
        return x / (1.0 + exp(-x));
    return x / (1.0 + exp(-1.59576912160573071176 * (x + 0.044715 * x * x * x)));
}

/* Mostly what a layer sees, some large, some tiny, some at the ends of float32. */
static float draw_gate(void)
{
    switch (random_below(8)) {
    case 0:
        return ldexpf(gaussian(), 7);
    case 1:
        return ldexpf(gaussian(), (int)random_below(240) - 120);
    case 2:
        return random_below(2) ? 0.0f : -0.0f;
    case 3:
        return random_below(2) ? 3e38f : -3e38f;
    default:
        return 3.0f * gaussian();
    }
}

static void check_gate(const struct phy_activation_variant *v, enum phy_activation activation, size_t count,
                       bool at_end, struct worst *worst)
{
    char where[160];
    uint64_t seed = parity_seed;
    struct guarded gate_map = guarded_create(count * sizeof(float), at_end),
                   up_map = guarded_create(count * sizeof(float), at_end);
    float *gate = gate_map.data, *up = up_map.data, *before = malloc(count * sizeof *before);
    for (size_t i = 0; i < count; i++) {
        gate[i] = before[i] = draw_gate();
        up[i] = fabsf(gate[i]) > 1e30f ? (float)uniform(-1, 1) : gaussian();
    }
    v->gate(activation, gate, up, count);
    snprintf(where, sizeof where, "%s, %s of %zu", v->name, activation == PHY_ACT_SILU ? "silu" : "gelu", count);
    for (size_t i = 0; i < count; i++) {
        double x = (double)before[i], act = act_exactly(activation, x), u = fabs((double)up[i]);
        /* The contract's bound of act, and half a last place for the product with up. */
        double tolerance = u * fmax(2e-6 * fabs(act), 1e-7 * fmax(1, fabs(x))) + 6e-8 * u * fabs(act) + 0x1p-149;
        compare(worst, (double)gate[i], act * (double)up[i], tolerance, i, seed, where);
    }
    free(before);
    guarded_destroy(&gate_map);
    guarded_destroy(&up_map);
}

static void gates_within_the_bound(void **state)
{
    struct phy_cpu_features have = phy_cpu_detect();
    struct worst worst = {0};
    (void)state;
    for (const struct phy_activation_variant *v = phy_activation_variants; v->name; v++) {
        if (!phy_cpu_meets(&have, &v->needs))
            continue;
        for (size_t c = 0; c < COUNTS; c++) {
            check_gate(v, PHY_ACT_SILU, counts[c], c % 2 == 0, &worst);
            check_gate(v, PHY_ACT_GELU_TANH, counts[c], c % 2 == 1, &worst);
        }
    }
    assert_true(report_worst(&worst, "gate"));
}

/* Every value of a layer's usual range, in steps that no polynomial hides between. */
static void gates_within_the_bound_all_along_the_usual_range(void **state)
{
    enum { STEPS = 400000 };
    struct phy_cpu_features have = phy_cpu_detect();
    static float gate[STEPS], up[STEPS];
    struct worst worst = {0};
    (void)state;
    for (const struct phy_activation_variant *v = phy_activation_variants; v->name; v++) {
        if (!phy_cpu_meets(&have, &v->needs))
            continue;
        for (int activation = PHY_ACT_SILU; activation <= PHY_ACT_GELU_TANH; activation++) {
            for (int i = 0; i < STEPS; i++) {
                gate[i] = -100.0f + 200.0f * (float)i / STEPS;
                up[i] = 1;
            }
            v->gate((enum phy_activation)activation, gate, up, STEPS);
            for (int i = 0; i < STEPS; i++) {
                double x = (double)(-100.0f + 200.0f * (float)i / STEPS);
                double act = act_exactly((enum phy_activation)activation, x);
                compare(&worst, (double)gate[i], act, fmax(2e-6 * fabs(act), 1e-7 * fmax(1, fabs(x))), (size_t)i, 0,
                        v->name);
            }
        }
    }
    assert_true(report_worst(&worst, "gate, -100 to 100"));
}

/* tanh-GELU far below zero, by decimals of 60 digits: x/2 (1 + tanh y) would cancel, to zero from -8 on. */
static void tails_of_gelu_do_not_cancel(void **state)
{
    static const struct {
        float x;
        double act;
    } known[] = {{-6, -8.4396467e-11}, {-7, -2.31544e-15}, {-8, -3.10778e-21}, {-9, -1.33646e-28}};
    struct phy_cpu_features have = phy_cpu_detect();
    (void)state;
    for (const struct phy_activation_variant *v = phy_activation_variants; v->name; v++) {
        for (size_t i = 0; phy_cpu_meets(&have, &v->needs) && i < sizeof known / sizeof *known; i++) {
            float gate[16], up[16]; /* a whole vector, as the forms' tails are their own */
            for (size_t j = 0; j < 16; j++) {
                gate[j] = known[i].x;
                up[j] = 1;
            }
            v->gate(PHY_ACT_GELU_TANH, gate, up, 16);
            for (size_t j = 0; j < 16; j++)
                assert_true(fabs((double)gate[j] - known[i].act) <= 1e-4 * fabs(known[i].act));
        }
    }
}

/* ---- norms and rotations ---- */

static float *draw_floats(struct guarded *map, size_t count, bool at_end)
{
    *map = guarded_create(count * sizeof(float), at_end);
    float *x = map->data;
    for (size_t i = 0; i < count; i++)
        x[i] = ldexpf(gaussian(), (int)random_below(9) - 4);
    return x;
}

static void check_norm(size_t count, bool with_plus, bool in_place, bool at_end, struct worst *worst)
{
    struct phy_cpu_features have = phy_cpu_detect();
    uint64_t seed = parity_seed;
    struct guarded maps[4];
    float *x = draw_floats(&maps[0], count, at_end), *plus = draw_floats(&maps[1], count, !at_end);
    float *w = draw_floats(&maps[2], count, at_end), *to = draw_floats(&maps[3], count, !at_end);
    float *before = malloc(count * sizeof *before), *first = malloc(2 * count * sizeof *first);
    const struct phy_norm norm = {.w = w, .count = count, .eps = 1e-5, .offset = at_end ? 1.0f : 0.0f};
    double squares = 0;
    memcpy(before, x, count * sizeof *x);
    for (size_t i = 0; i < count; i++) {
        double whole = (double)(with_plus ? before[i] + plus[i] : before[i]);
        squares += whole * whole;
    }
    for (const struct phy_activation_variant *v = phy_activation_variants; v->name; v++) {
        if (!phy_cpu_meets(&have, &v->needs))
            continue;
        char where[160];
        float *out = in_place ? x : to;
        memcpy(x, before, count * sizeof *x);
        v->norm(&norm, out, x, with_plus ? plus : NULL);
        snprintf(where, sizeof where, "%s, norm of %zu%s%s", v->name, count, with_plus ? ", plus" : "",
                 in_place ? ", in place" : "");
        for (size_t i = 0; i < count; i++) {
            double whole = (double)(with_plus ? before[i] + plus[i] : before[i]);
            double expected = whole / sqrt(squares / (double)count + norm.eps) * (double)(norm.offset + w[i]);
            compare(worst, (double)out[i], expected, 4e-7 * fabs(expected) + 0x1p-149, i, seed, where);
        }
        if (v == phy_activation_variants) {
            memcpy(first, out, count * sizeof *first);
            memcpy(first + count, x, count * sizeof *first);
        } else if (memcmp(first, out, count * sizeof *first) != 0 ||
                   memcmp(first + count, x, count * sizeof *first) != 0) {
            fail_msg("%s: other bits than %s; PHY_SEED=%llu", where, phy_activation_variants->name,
                     (unsigned long long)seed);
        }
    }
    free(before);
    free(first);
    for (size_t i = 0; i < 4; i++)
        guarded_destroy(&maps[i]);
}

static void norms_are_right_and_of_the_same_bits_from_every_form(void **state)
{
    struct worst worst = {0};
    (void)state;
    for (size_t c = 0; c < COUNTS; c++) {
        for (unsigned i = 0; i < 8; i++)
            check_norm(counts[c], i & 1, i & 2, i & 4, &worst);
    }
    assert_true(report_worst(&worst, "norm"));
}

static void rotations_are_right_and_of_the_same_bits_from_every_form(void **state)
{
    static const size_t dims[] = {2, 4, 16, 18, 30, 32, 34, 64, 80, 96, 128, 256};
    struct phy_cpu_features have = phy_cpu_detect();
    struct worst worst = {0};
    (void)state;
    for (size_t d = 0; d < sizeof dims / sizeof *dims; d++) {
        const size_t dim = dims[d], half = dim / 2;
        uint64_t seed = parity_seed;
        struct guarded head_map, table_map;
        float *head = draw_floats(&head_map, dim, d % 2), *table = draw_floats(&table_map, dim, d % 2);
        float before[256], first[256];
        memcpy(before, head, dim * sizeof *head);
        for (size_t i = 0; i < half; i++) {
            const double angle = uniform(-1000, 1000);
            table[i] = (float)cos(angle);
            table[half + i] = (float)sin(angle);
        }
        for (const struct phy_activation_variant *v = phy_activation_variants; v->name; v++) {
            if (!phy_cpu_meets(&have, &v->needs))
                continue;
            memcpy(head, before, dim * sizeof *head);
            v->rotate(head, table, dim);
            for (size_t i = 0; i < half; i++) {
                double a = (double)before[i], b = (double)before[half + i];
                double c = (double)table[i], s = (double)table[half + i];
                compare(&worst, (double)head[i], a * c - b * s, 2e-7 * (fabs(a) + fabs(b)), i, seed, v->name);
                compare(&worst, (double)head[half + i], b * c + a * s, 2e-7 * (fabs(a) + fabs(b)), i, seed, v->name);
            }
            if (v == phy_activation_variants)
                memcpy(first, head, dim * sizeof *head);
            assert_memory_equal(first, head, dim * sizeof *head);
        }
        guarded_destroy(&head_map);
        guarded_destroy(&table_map);
    }
    assert_true(report_worst(&worst, "rotate"));
}

/* ---- log-sum ---- */

static double log_sum_exactly(const float *x, size_t count)
{
    double largest = (double)x[0], sum = 0;
    for (size_t i = 1; i < count; i++)
        largest = fmax(largest, (double)x[i]);
    for (size_t i = 0; i < count; i++)
        sum += exp((double)x[i] - largest);
    return largest + log(sum);
}

static void check_log_sum(const float *x, size_t count, const char *what, uint64_t seed, struct worst *worst)
{
    struct phy_cpu_features have = phy_cpu_detect();
    double expected = log_sum_exactly(x, count);
    uint32_t best = 0;
    char where[160];
    for (uint32_t i = 1; i < count; i++)
        best = x[i] > x[best] ? i : best;
    for (const struct phy_activation_variant *v = phy_activation_variants; v->name; v++) {
        if (!phy_cpu_meets(&have, &v->needs))
            continue;
        uint32_t top = UINT32_MAX;
        double got = v->log_sum(x, count, &top);
        snprintf(where, sizeof where, "%s, %zu %s", v->name, count, what);
        compare(worst, got, expected, 2e-6 + 1e-7 * fabs(expected), 0, seed, where);
        if (top != best)
            fail_msg("%s: top %u, expected %u; PHY_SEED=%llu", where, top, best, (unsigned long long)seed);
    }
}

static void log_sum_is_right_and_names_the_first_of_the_largest(void **state)
{
    struct worst worst = {0};
    (void)state;
    for (size_t c = 0; c < COUNTS; c++) {
        uint64_t seed = parity_seed;
        size_t count = counts[c];
        struct guarded map = guarded_create(count * sizeof(float), c % 2 == 0);
        float *x = map.data;
        for (size_t i = 0; i < count; i++)
            x[i] = 8.0f * gaussian();
        check_log_sum(x, count, "logits", seed, &worst);
        for (int ties = 0; ties < 8; ties++) {
            x[random_below((uint32_t)count)] = 50.0f;
            check_log_sum(x, count, "with ties", seed, &worst);
        }
        for (size_t i = 0; i < count; i++)
            x[i] = -7.25f;
        check_log_sum(x, count, "all equal", seed, &worst);
        for (size_t i = 0; i < count; i++)
            x[i] = 1000.0f * gaussian();
        check_log_sum(x, count, "far apart", seed, &worst);
        for (size_t i = 0; i < count; i++)
            x[i] = random_below(2) ? 1e38f : -1e38f;
        check_log_sum(x, count, "at the ends", seed, &worst);
        guarded_destroy(&map);
    }
    assert_true(report_worst(&worst, "log_sum"));
}

static void log_sum_and_kl_hold_over_a_large_vocabulary(void **state)
{
    enum { VOCAB = 262144 };
    struct phy_cpu_features have = phy_cpu_detect();
    float *p = malloc(VOCAB * sizeof *p), *q = malloc(VOCAB * sizeof *q);
    struct worst worst = {0};
    (void)state;
    for (int sharp = 0; sharp < 2; sharp++) {
        uint64_t seed = parity_seed;
        for (size_t i = 0; i < VOCAB; i++) {
            p[i] = (sharp ? 6.0f : 0.01f) * gaussian();
            q[i] = p[i] + 0.1f * gaussian();
        }
        check_log_sum(p, VOCAB, sharp ? "sharp logits" : "flat logits", seed, &worst);
        double p_log = log_sum_exactly(p, VOCAB), q_log = log_sum_exactly(q, VOCAB), kl = 0, absolute = 0;
        for (size_t i = 0; i < VOCAB; i++) {
            double term = exp((double)p[i] - p_log) * (((double)p[i] - p_log) - ((double)q[i] - q_log));
            kl += term;
            absolute += fabs(term);
        }
        for (const struct phy_activation_variant *v = phy_activation_variants; v->name; v++) {
            if (phy_cpu_meets(&have, &v->needs))
                compare(&worst, v->kl(p, p_log, q, q_log, VOCAB), kl, 2e-6 * absolute, 0, seed, v->name);
        }
    }
    free(p);
    free(q);
    assert_true(report_worst(&worst, "a vocabulary of 262144"));
}

/* ---- KL ---- */

static void kl_is_within_the_bound(void **state)
{
    struct phy_cpu_features have = phy_cpu_detect();
    struct worst worst = {0};
    (void)state;
    for (size_t c = 0; c < COUNTS; c++) {
        uint64_t seed = parity_seed;
        size_t count = counts[c];
        struct guarded p_map = guarded_create(count * sizeof(float), c % 2 == 0),
                       q_map = guarded_create(count * sizeof(float), c % 2 == 0);
        float *p = p_map.data, *q = q_map.data;
        for (int far = 0; far < 3; far++) {
            static const float apart[] = {0.001f, 0.5f, 20.0f};
            for (size_t i = 0; i < count; i++) {
                p[i] = 5.0f * gaussian() + (c % 3 == 0 ? 150.0f : 0.0f);
                q[i] = p[i] + apart[far] * gaussian();
            }
            double p_log = log_sum_exactly(p, count), q_log = log_sum_exactly(q, count), kl = 0, absolute = 0;
            for (size_t i = 0; i < count; i++) {
                double term = exp((double)p[i] - p_log) * (((double)p[i] - p_log) - ((double)q[i] - q_log));
                kl += term;
                absolute += fabs(term);
            }
            for (const struct phy_activation_variant *v = phy_activation_variants; v->name; v++) {
                char where[160];
                if (!phy_cpu_meets(&have, &v->needs))
                    continue;
                snprintf(where, sizeof where, "%s, %zu logits %g apart", v->name, count, (double)apart[far]);
                /* One logit alone has KL 0, and float64's own noise stands there. */
                compare(&worst, v->kl(p, p_log, q, q_log, count), kl, 2e-6 * absolute + 1e-14, 0, seed, where);
                assert_true(v->kl(p, p_log, p, p_log, count) == 0);
            }
        }
        guarded_destroy(&p_map);
        guarded_destroy(&q_map);
    }
    assert_true(report_worst(&worst, "kl"));
}

static void the_table_names_each_form_once(void **state)
{
    (void)state;
    assert_string_equal(phy_activation_variants[0].name, "ref");
    for (const struct phy_activation_variant *v = phy_activation_variants; v->name; v++)
        assert_ptr_equal(phy_activation_variant_named(v->name), v);
    assert_null(phy_activation_variant_named("sse9"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_table_names_each_form_once),
        cmocka_unit_test(gates_within_the_bound),
        cmocka_unit_test(gates_within_the_bound_all_along_the_usual_range),
        cmocka_unit_test(tails_of_gelu_do_not_cancel),
        cmocka_unit_test(norms_are_right_and_of_the_same_bits_from_every_form),
        cmocka_unit_test(rotations_are_right_and_of_the_same_bits_from_every_form),
        cmocka_unit_test(log_sum_is_right_and_names_the_first_of_the_largest),
        cmocka_unit_test(log_sum_and_kl_hold_over_a_large_vocabulary),
        cmocka_unit_test(kl_is_within_the_bound),
    };
    parity_begin();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
