/* SPDX-License-Identifier: Apache-2.0 */
/* Every form of the products with activations rounded to int8: the rounding byte for byte, the products against sums in
 * float64 over the decoded weights and the rounded activations, in buffers with guard pages. PHY_SEED sets another
 * seed. */
#include "support/test.h"

#include "kernels/int8_matmul.h"
#include "support/guarded.h"
#include "support/random_blocks.h"

enum { GAP = 3 };
static const enum phy_weight_type types[] = {PHY_WEIGHT_Q8_0, PHY_WEIGHT_Q4_K, PHY_WEIGHT_Q6_K};
enum { TYPES = sizeof types / sizeof *types };

/* Rounded rows, each array at its own guard page, which its alignment allows: they are whole groups. */
struct rounded {
    struct phy_int8_rows rows;
    struct guarded q, paired, scale, sums, fours;
};

static struct rounded rounded_create(size_t count, size_t cols)
{
    struct rounded r = {.rows = {.count = count, .cols = cols, .groups = (cols + 255) / 256}};
    const size_t groups = count * r.rows.groups;
    r.q = guarded_create(groups * 256, true);
    r.paired = guarded_create(groups * 256, true);
    r.scale = guarded_create(groups * sizeof(float), true);
    r.sums = guarded_create(groups * sizeof(struct phy_int8_sums), true);
    r.fours = guarded_create(groups * 64 * sizeof(int32_t), true);
    r.rows.q = r.q.data;
    r.rows.paired = r.paired.data;
    r.rows.scale = r.scale.data;
    r.rows.sums = r.sums.data;
    r.rows.fours = r.fours.data;
    return r;
}

static void rounded_destroy(struct rounded *r)
{
    guarded_destroy(&r->q);
    guarded_destroy(&r->paired);
    guarded_destroy(&r->scale);
    guarded_destroy(&r->sums);
    guarded_destroy(&r->fours);
}

/* The last `count` of them. */
static struct phy_int8_rows last_rows(const struct phy_int8_rows *rows, size_t count)
{
    const size_t skipped = (rows->count - count) * rows->groups;
    struct phy_int8_rows last = *rows;
    last.count = count;
    last.q += skipped * 256;
    last.paired += skipped * 256;
    last.scale += skipped;
    last.sums += skipped;
    last.fours += skipped * 64;
    return last;
}

/* A weight matrix and its rounded rows of x, and what their product is. */
struct matrix_case {
    uint64_t seed;
    size_t rows, cols, max_count;
    enum phy_weight_type type;
    enum pattern pattern;
    bool cancels; /* q4_K: blocks in which the scaled codes and the minimum are all but equal */
    size_t misplaced;
    struct guarded w_map;
    unsigned char *w;
    struct rounded x;
    double *sum, *absolute; /* (max_count, rows) sums of products, and of their magnitudes */
};

static void sum_exactly(struct matrix_case *c)
{
    const size_t row_bytes = row_bytes_of(c->type, c->cols);
    float *row = malloc(c->cols * sizeof *row);
    for (size_t r = 0; r < c->rows; r++) {
        phy_weight_decode_row(c->type, c->w + r * row_bytes, c->cols, row);
        for (size_t n = 0; n < c->max_count; n++) {
            double sum = 0, absolute = 0;
            for (size_t k = 0; k < c->cols; k++) {
                const size_t group = n * c->x.rows.groups + k / 256;
                double product = (double)row[k] * ((double)c->x.rows.scale[group] * c->x.rows.q[group * 256 + k % 256]);
                sum += product;
                absolute += fabs(product);
            }
            c->sum[n * c->rows + r] = sum;
            c->absolute[n * c->rows + r] = absolute;
        }
    }
    free(row);
}

static float draw_x(const struct matrix_case *c)
{
    /* Magnitudes within a group differ little enough that not all codes but one are zero. */
    return c->pattern == EXTREMES ? ldexpf(gaussian(), (int)random_below(6)) : draw_activation(c->pattern);
}

/* Scales, minima and codes of one: w is what d and dmin differ by, in the last place. */
static void make_cancelling(struct matrix_case *c)
{
    const size_t blocks = c->rows * row_bytes_of(c->type, c->cols) / 144;
    for (size_t b = 0; b < blocks; b++) {
        uint8_t *block = c->w + b * 144;
        const uint16_t d = 0x2C00, dmin = (uint16_t)(0x2C00 + random_below(3));
        memset(block + 4, 0x01, 8);
        memset(block + 12, 0x11, 132);
        memcpy(block, &d, 2);
        memcpy(block + 2, &dmin, 2);
    }
}

static void case_make(struct matrix_case *c)
{
    c->seed = parity_seed;
    c->w_map = guarded_create(c->rows * row_bytes_of(c->type, c->cols), true);
    c->w = c->w_map.data;
    draw_matrix(c->type, c->pattern, c->rows, c->cols, c->w);
    if (c->cancels)
        make_cancelling(c);
    c->x = rounded_create(c->max_count, c->cols);
    struct guarded x_map = guarded_create(c->cols * sizeof(float), true);
    float *x = x_map.data;
    for (size_t n = 0; n < c->max_count; n++) {
        for (size_t k = 0; k < c->cols; k++)
            x[k] = draw_x(c);
        phy_int8_matmul_variants[0].round_row(x, &c->x.rows, n);
    }
    guarded_destroy(&x_map);
    c->sum = malloc(c->max_count * c->rows * sizeof *c->sum);
    c->absolute = malloc(c->max_count * c->rows * sizeof *c->absolute);
    sum_exactly(c);
}

static void case_free(struct matrix_case *c)
{
    guarded_destroy(&c->w_map);
    rounded_destroy(&c->x);
    free(c->sum);
    free(c->absolute);
}

/* ---- one product ---- */

static void *panel;
static const float untouched = 12345.678f;

static void run_rows(const struct phy_int8_matmul_variant *variant, bool matvec, const struct phy_int8_matmul *product,
                     size_t begin, size_t end)
{
    if (matvec)
        variant->matvec(product, begin, end);
    else
        variant->matmul(product, begin, end, panel);
}

static void check_product(const struct matrix_case *c, const struct phy_int8_matmul_variant *variant, bool matvec,
                          size_t count, float *first_bits, bool known, struct worst *worst)
{
    char where[160];
    const size_t stride = c->rows + GAP, first = c->max_count - count, values = (count - 1) * stride + c->rows;
    struct guarded y_map = guarded_create(values * sizeof(float), true);
    float *y = y_map.data;
    const struct phy_int8_rows x = last_rows(&c->x.rows, count);
    struct phy_int8_matmul product = {c->w, c->type, c->rows, &x, y, stride, false};
    snprintf(where, sizeof where, "%s %s %s %zux%zu by %zu, %s", variant->name, matvec ? "matvec" : "matmul",
             phy_weight_format(c->type)->name, c->rows, c->cols, count,
             c->cancels ? "cancelling" : pattern_names[c->pattern]);
    for (int shared = 0; shared < 2; shared++) {
        product.cached = shared;
        for (size_t i = 0; i < values; i++)
            y[i] = untouched;
        for (size_t begin = 0, end; begin < c->rows; begin = end) {
            end = shared ? begin + 1 + random_below(77) : c->rows;
            end = end > c->rows ? c->rows : end;
            run_rows(variant, matvec, &product, begin, end);
        }
        for (size_t n = 0; n < count; n++) {
            float *bits = first_bits + (first + n) * c->rows;
            if (!known && !shared)
                memcpy(bits, y + n * stride, c->rows * sizeof *bits);
            else if (memcmp(bits, y + n * stride, c->rows * sizeof *bits) != 0)
                fail_msg("%s: row %zu of x has other bits %s; PHY_SEED=%llu", where, n,
                         shared ? "in shares" : "with this many rows of x", (unsigned long long)c->seed);
            for (size_t i = c->rows; n + 1 < count && i < stride; i++)
                assert_true(y[n * stride + i] == untouched);
            for (size_t r = 0; r < c->rows; r++) {
                size_t at = (first + n) * c->rows + r;
                compare(worst, (double)y[n * stride + r], c->sum[at], 4e-6 * c->absolute[at] + 0x1p-149, at, c->seed,
                        where);
            }
        }
    }
    guarded_destroy(&y_map);
}

static void run_case(struct matrix_case c, const size_t *counts, struct worst *worst)
{
    struct phy_cpu_features have = phy_cpu_detect();
    c.max_count = counts[0];
    case_make(&c);
    float *bits = malloc(c.max_count * c.rows * sizeof *bits);
    for (const struct phy_int8_matmul_variant *v = phy_int8_matmul_variants; v->name; v++) {
        for (int matvec = 0; matvec < 2 && phy_cpu_meets(&have, &v->needs); matvec++) {
            bool known = false;
            for (size_t i = 0; counts[i]; i++) {
                if (matvec && counts[i] > PHY_MATVEC_MAX_COUNT)
                    continue;
                check_product(&c, v, matvec, counts[i], bits, known, worst);
                known = true;
            }
        }
    }
    free(bits);
    case_free(&c);
}

/* ---- the tests ---- */

static const size_t usual_counts[] = {13, 8, 5, 2, 1, 0}, few[] = {8, 1, 0};

static void matches_the_sum_in_float64_for_every_shape(void **state)
{
    static const size_t rows[] = {1, 3, 127}, widths[] = {1, 31, 32, 576, 640, 1152, 2880, 3584}, tall[] = {64, 8, 0};
    struct worst worst = {0};
    (void)state;
    for (int t = 0; t < TYPES; t++) {
        for (size_t r = 0; r < sizeof rows / sizeof *rows; r++) {
            for (size_t w = 0; w < sizeof widths / sizeof *widths; w++) {
                const size_t weights = rows[r] * widths[w];
                run_case((struct matrix_case){.rows = rows[r], .cols = widths[w], .type = types[t]},
                         weights > 100000 ? few
                         : weights > 5000 ? usual_counts
                                          : tall,
                         &worst);
            }
        }
    }
    assert_true(report_worst(&worst, "shapes"));
}

static void matches_the_sum_in_float64_for_long_matrices(void **state)
{
    static const size_t many[] = {512, 12, 0};
    struct worst worst = {0};
    (void)state;
    for (int t = 0; t < TYPES; t++) {
        run_case((struct matrix_case){.rows = 3, .cols = 18944, .type = types[t]}, few, &worst);
        run_case((struct matrix_case){.rows = 5, .cols = 18944, .type = types[t], .pattern = ALL_EQUAL}, usual_counts,
                 &worst);
        run_case((struct matrix_case){.rows = 33, .cols = 95, .type = types[t]}, many, &worst);
    }
    run_case((struct matrix_case){.rows = 4096, .cols = 288, .type = PHY_WEIGHT_Q4_K}, few, &worst);
    assert_true(report_worst(&worst, "long matrices"));
}

static void matches_the_sum_in_float64_for_every_pattern(void **state)
{
    static const size_t widths[] = {1, 7, 16, 33, 255, 256, 257, 511, 1025};
    struct worst worst = {0};
    (void)state;
    for (int t = 0; t < TYPES; t++) {
        for (int p = 0; p < PATTERNS; p++) {
            for (size_t w = 0; w < sizeof widths / sizeof *widths; w++)
                run_case(
                    (struct matrix_case){
                        .rows = 1 + random_below(37), .cols = widths[w], .type = types[t], .pattern = (enum pattern)p},
                    usual_counts, &worst);
        }
    }
    assert_true(report_worst(&worst, "patterns"));
}

static void keeps_what_is_left_of_large_products_that_cancel(void **state)
{
    struct worst worst = {0};
    (void)state;
    run_case((struct matrix_case){.rows = 37, .cols = 3000, .type = PHY_WEIGHT_Q4_K, .cancels = true}, usual_counts,
             &worst);
    assert_true(report_worst(&worst, "cancelling"));
}

/* The tests above compare with sums in float64; the two forms that give the same bits are compared here, over every way
 * in which rows of x fill tiles and rows and columns of w end. */
static void amx_gives_the_bits_of_vnni_for_every_count(void **state)
{
    static const struct {
        size_t rows, cols, counts[12];
    } shapes[] = {{33, 300, {9, 15, 16, 17, 31, 32, 33, 47, 48, 49, 65}},
                  {16, 256, {9, 32}},
                  {37, 2400, {16, 45}},
                  {1, 31, {18}},
                  {64, 4097, {33}}};
    struct phy_cpu_features have = phy_cpu_detect();
    const struct phy_int8_matmul_variant *vnni = NULL, *amx = NULL;
    (void)state;
    for (const struct phy_int8_matmul_variant *v = phy_int8_matmul_variants; v->name; v++) {
        vnni = strcmp(v->name, "avx512vnni") == 0 ? v : vnni;
        amx = strcmp(v->name, "avx512amx") == 0 && phy_cpu_meets(&have, &v->needs) ? v : amx;
    }
    if (!amx)
        skip();
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes * TYPES; s++) {
        struct matrix_case c = {.rows = shapes[s / TYPES].rows, .cols = shapes[s / TYPES].cols, .max_count = 65};
        const size_t values = c.max_count * c.rows;
        c.type = types[s % TYPES];
        case_make(&c);
        float *y = malloc(2 * values * sizeof *y);
        for (size_t i = 0; shapes[s / TYPES].counts[i]; i++) {
            const struct phy_int8_rows x = last_rows(&c.x.rows, shapes[s / TYPES].counts[i]);
            struct phy_int8_matmul product = {c.w, c.type, c.rows, &x, y, c.rows, false};
            memset(y, 0x77, 2 * values * sizeof *y);
            vnni->matmul(&product, 0, c.rows, panel);
            product.y = y + values;
            amx->matmul(&product, 0, c.rows, panel);
            if (memcmp(y, y + values, values * sizeof *y) != 0)
                fail_msg("%s %zux%zu by %zu: other bits; PHY_SEED=%llu", phy_weight_format(c.type)->name, c.rows,
                         c.cols, x.count, (unsigned long long)c.seed);
        }
        free(y);
        case_free(&c);
    }
}

static void rounds_to_the_same_bytes_in_every_form(void **state)
{
    static const size_t widths[] = {1, 31, 256, 257, 640, 1000};
    struct phy_cpu_features have = phy_cpu_detect();
    (void)state;
    for (int p = 0; p < PATTERNS; p++) {
        for (size_t w = 0; w < sizeof widths / sizeof *widths; w++) {
            const size_t cols = widths[w];
            struct guarded x_map = guarded_create(cols * sizeof(float), true);
            float *x = x_map.data;
            for (size_t k = 0; k < cols; k++)
                x[k] = p == ZEROS ? ldexpf(gaussian(), -110) : draw_activation((enum pattern)p);
            /* Halves between codes, in groups whose scale is 1. */
            for (size_t k = 0; p == RANDOM && k < cols; k++)
                x[k] = k % 256 == 0 ? 127 : (float)((int)random_below(509) - 254) * 0.5f;
            struct rounded expected = rounded_create(1, cols), got = rounded_create(1, cols);
            for (const struct phy_int8_matmul_variant *v = phy_int8_matmul_variants; v->name; v++) {
                if (!phy_cpu_meets(&have, &v->needs))
                    continue;
                const bool reference = v == phy_int8_matmul_variants;
                memset(got.rows.q, 0x77, got.rows.groups * 256);
                v->round_row(x, reference ? &expected.rows : &got.rows, 0);
                if (reference)
                    continue;
                assert_memory_equal(got.rows.q, expected.rows.q, got.rows.groups * 256);
                assert_memory_equal(got.rows.paired, expected.rows.paired, got.rows.groups * 256);
                assert_memory_equal(got.rows.scale, expected.rows.scale, got.rows.groups * sizeof(float));
                assert_memory_equal(got.rows.sums, expected.rows.sums, got.rows.groups * sizeof *got.rows.sums);
                assert_memory_equal(got.rows.fours, expected.rows.fours, got.rows.groups * 64 * sizeof(int32_t));
            }
            /* Not farther off than half a step. */
            for (size_t k = 0; k < cols; k++) {
                const double scale = (double)expected.rows.scale[k / 256];
                assert_true(fabs((double)x[k] - scale * expected.rows.q[k]) <=
                            (p == ZEROS ? 0x1p-100 : 0.50001 * scale));
            }
            rounded_destroy(&expected);
            rounded_destroy(&got);
            guarded_destroy(&x_map);
        }
    }
}

static void the_table_begins_with_the_reference_and_the_best_is_the_last_that_runs(void **state)
{
    struct phy_cpu_features have = phy_cpu_detect(), none = {0};
    const struct phy_int8_matmul_variant *last = NULL;
    (void)state;
    assert_string_equal(phy_int8_matmul_variants[0].name, "ref");
    for (const struct phy_int8_matmul_variant *v = phy_int8_matmul_variants; v->name; v++) {
        assert_true(v->row_unit >= 1 && v->row_unit <= PHY_MATMUL_MAX_ROW_UNIT);
        last = phy_cpu_meets(&have, &v->needs) ? v : last;
        printf("%s%s\n", v->name, phy_cpu_meets(&have, &v->needs) ? "" : ": skipped, not on this processor");
    }
    assert_ptr_equal(phy_int8_matmul_variant_best(&have), last);
    assert_ptr_equal(phy_int8_matmul_variant_best(&none), &phy_int8_matmul_variants[0]);
    for (int type = 0; type < PHY_WEIGHT_TYPE_COUNT; type++) {
        bool listed = false;
        for (int t = 0; t < TYPES; t++)
            listed |= types[t] == (enum phy_weight_type)type;
        assert_int_equal(phy_int8_offers((enum phy_weight_type)type), listed);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_table_begins_with_the_reference_and_the_best_is_the_last_that_runs),
        cmocka_unit_test(rounds_to_the_same_bytes_in_every_form),
        cmocka_unit_test(matches_the_sum_in_float64_for_every_shape),
        cmocka_unit_test(matches_the_sum_in_float64_for_long_matrices),
        cmocka_unit_test(matches_the_sum_in_float64_for_every_pattern),
        cmocka_unit_test(keeps_what_is_left_of_large_products_that_cancel),
        cmocka_unit_test(amx_gives_the_bits_of_vnni_for_every_count),
    };
    parity_begin();
    struct guarded panel_map = guarded_create(PHY_INT8_PANEL_BYTES, true); /* a whole number of pages: aligned */
    panel = panel_map.data;
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    guarded_destroy(&panel_map);
    return failed;
}
