/* SPDX-License-Identifier: Apache-2.0 */
/* Every form of the walk's kernels against sums in float64, in buffers with guard pages. PHY_SEED sets another seed. */
#include "support/test.h"

#include "kernels/walk.h"
#include "support/guarded.h"
#include "support/random_blocks.h"

struct walk_case {
    uint64_t seed;
    size_t rows, cols, listed;
    enum phy_weight_type type;
    enum pattern pattern;
    struct guarded w_map, x_map;
    struct phy_walk_matrix matrix;
    uint32_t *features;         /* (listed) ascending */
    float *x;                   /* (cols) */
    float *a;                   /* (listed) */
    float *decoded;             /* (rows, cols) */
    double *dot, *dot_absolute; /* (listed) */
    double *sum, *sum_absolute; /* (cols) */
};

static void sum_exactly(struct walk_case *c)
{
    for (size_t i = 0; i < c->listed; i++) {
        const float *row = c->decoded + c->features[i] * c->cols;
        for (size_t k = 0; k < c->cols; k++) {
            const double by_x = (double)row[k] * (double)c->x[k], by_a = (double)row[k] * (double)c->a[i];
            c->dot[i] += by_x;
            c->dot_absolute[i] += fabs(by_x);
            c->sum[k] += by_a;
            c->sum_absolute[k] += fabs(by_a);
        }
    }
}

static void case_make(struct walk_case *c)
{
    const size_t row_bytes = row_bytes_of(c->type, c->cols);
    c->seed = parity_seed;
    c->w_map = guarded_create(c->rows * row_bytes, true);
    c->x_map = guarded_create(c->cols * sizeof(float), true);
    c->x = c->x_map.data;
    c->matrix = (struct phy_walk_matrix){c->w_map.data, c->type, c->cols};
    draw_matrix(c->type, c->pattern, c->rows, c->cols, c->w_map.data);
    c->decoded = malloc(c->rows * c->cols * sizeof *c->decoded);
    for (size_t r = 0; r < c->rows; r++)
        phy_weight_decode_row(c->type, (uint8_t *)c->w_map.data + r * row_bytes, c->cols, c->decoded + r * c->cols);
    c->features = malloc((c->rows + 1) * sizeof *c->features);
    c->a = malloc((c->rows + 1) * sizeof *c->a);
    const uint32_t keep = 1 + random_below(4); /* quarters; the last row is always one of them */
    for (size_t r = 0; r < c->rows; r++) {
        if (random_below(4) < keep || r + 1 == c->rows)
            c->features[c->listed++] = (uint32_t)r;
    }
    for (size_t k = 0; k < c->cols; k++)
        c->x[k] = draw_activation(c->pattern);
    for (size_t i = 0; i < c->listed; i++)
        c->a[i] = draw_activation(c->pattern);
    c->dot = calloc(c->listed, sizeof *c->dot);
    c->dot_absolute = calloc(c->listed, sizeof *c->dot_absolute);
    c->sum = calloc(c->cols, sizeof *c->sum);
    c->sum_absolute = calloc(c->cols, sizeof *c->sum_absolute);
    sum_exactly(c);
}

static void case_free(struct walk_case *c)
{
    guarded_destroy(&c->w_map);
    guarded_destroy(&c->x_map);
    free(c->decoded);
    free(c->features);
    free(c->a);
    free(c->dot);
    free(c->dot_absolute);
    free(c->sum);
    free(c->sum_absolute);
}

/* Whole, and in lists of random length: the same bits. */
static void check_dots(const struct walk_case *c, const struct phy_walk_variant *variant, const char *where,
                       struct worst *worst)
{
    struct guarded out_map = guarded_create(c->listed * sizeof(float), true);
    float *out = out_map.data, *whole = malloc(c->listed * sizeof *whole);
    variant->dots(&c->matrix, c->features, c->listed, c->x, out);
    memcpy(whole, out, c->listed * sizeof *whole);
    for (size_t i = 0; i < c->listed; i++)
        compare(worst, (double)out[i], c->dot[i], 4e-6 * c->dot_absolute[i] + 0x1p-149, i, c->seed, where);
    for (size_t begin = 0, end; begin < c->listed; begin = end) {
        end = begin + 1 + random_below(6);
        end = end > c->listed ? c->listed : end;
        variant->dots(&c->matrix, c->features + begin, end - begin, c->x, out + begin);
    }
    assert_memory_equal(out, whole, c->listed * sizeof *whole);
    free(whole);
    guarded_destroy(&out_map);
}

/* Whole, and in shares of columns: the same bits. */
static void check_add(const struct walk_case *c, const struct phy_walk_variant *variant, const char *where,
                      struct worst *worst)
{
    struct guarded y_map = guarded_create(c->cols * sizeof(float), true);
    float *y = y_map.data, *whole = malloc(c->cols * sizeof *whole);
    memset(y, 0x7F, c->cols * sizeof *y);
    variant->add(&c->matrix, c->features, c->a, c->listed, 0, c->cols, y);
    memcpy(whole, y, c->cols * sizeof *whole);
    for (size_t k = 0; k < c->cols; k++)
        compare(worst, (double)y[k], c->sum[k], 4e-6 * c->sum_absolute[k] + 0x1p-149, k, c->seed, where);
    memset(y, 0x7F, c->cols * sizeof *y);
    for (size_t begin = 0, end; begin < c->cols; begin = end) {
        end = begin + PHY_WALK_COL_UNIT * (1 + random_below(3));
        end = end > c->cols ? c->cols : end;
        variant->add(&c->matrix, c->features, c->a, c->listed, begin, end, y);
    }
    assert_memory_equal(y, whole, c->cols * sizeof *whole);
    variant->add(&c->matrix, c->features, c->a, 0, 0, c->cols, y);
    for (size_t k = 0; k < c->cols; k++)
        assert_true(y[k] == 0);
    free(whole);
    guarded_destroy(&y_map);
}

static void run_case(struct walk_case c, struct worst *worst)
{
    struct phy_cpu_features have = phy_cpu_detect();
    char where[160];
    case_make(&c);
    for (const struct phy_walk_variant *v = phy_walk_variants; v->name; v++) {
        if (!phy_cpu_meets(&have, &v->needs))
            continue;
        const char *format = phy_weight_format(c.type)->name, *pattern = pattern_names[c.pattern];
        snprintf(where, sizeof where, "%s dots %s %zu of %zux%zu, %s", v->name, format, c.listed, c.rows, c.cols,
                 pattern);
        check_dots(&c, v, where, worst);
        snprintf(where, sizeof where, "%s add %s %zu of %zux%zu, %s", v->name, format, c.listed, c.rows, c.cols,
                 pattern);
        check_add(&c, v, where, worst);
    }
    case_free(&c);
}

static void matches_the_sum_in_float64_for_every_shape(void **state)
{
    static const size_t rows[] = {1, 3, 127}, widths[] = {1, 31, 32, 576, 640, 1152, 2880, 3584};
    struct worst worst = {0};
    (void)state;
    for (int type = 0; type < PHY_WEIGHT_TYPE_COUNT; type++) {
        for (size_t r = 0; r < sizeof rows / sizeof *rows; r++) {
            for (size_t w = 0; w < sizeof widths / sizeof *widths; w++)
                run_case((struct walk_case){.rows = rows[r], .cols = widths[w], .type = (enum phy_weight_type)type},
                         &worst);
        }
        run_case((struct walk_case){.rows = 3, .cols = 18944, .type = (enum phy_weight_type)type}, &worst);
    }
    assert_true(report_worst(&worst, "shapes"));
}

static void matches_the_sum_in_float64_for_every_pattern(void **state)
{
    static const size_t widths[] = {1, 7, 33, 255, 257, 1025};
    struct worst worst = {0};
    (void)state;
    for (int type = 0; type < PHY_WEIGHT_TYPE_COUNT; type++) {
        for (int p = 0; p < PATTERNS; p++) {
            for (size_t w = 0; w < sizeof widths / sizeof *widths; w++)
                run_case((struct walk_case){.rows = 1 + random_below(37),
                                            .cols = widths[w],
                                            .type = (enum phy_weight_type)type,
                                            .pattern = (enum pattern)p},
                         &worst);
        }
    }
    assert_true(report_worst(&worst, "patterns"));
}

/* Additions of a column that all round the same way, in thousands. */
static void matches_the_sum_in_float64_for_long_lists(void **state)
{
    struct worst worst = {0};
    (void)state;
    for (int type = 0; type < PHY_WEIGHT_TYPE_COUNT; type++)
        run_case((struct walk_case){.rows = 6000, .cols = 40, .type = (enum phy_weight_type)type, .pattern = ALL_EQUAL},
                 &worst);
    assert_true(report_worst(&worst, "long lists"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(matches_the_sum_in_float64_for_every_shape),
        cmocka_unit_test(matches_the_sum_in_float64_for_every_pattern),
        cmocka_unit_test(matches_the_sum_in_float64_for_long_lists),
    };
    parity_begin();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
