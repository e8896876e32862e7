/* SPDX-License-Identifier: Apache-2.0 */
/* Every form of the products of blocks against sums in float64 over the decoded weights, in buffers with guard pages;
 * and every form's unpacking against the decoders. PHY_SEED sets another seed. */
#include "support/test.h"

#include "kernels/block_matmul.h"
#include "support/guarded.h"
#include "support/random_blocks.h"

enum { GAP = 3 };

/* A weight matrix and its rows of x, and what their product is. */
struct matrix_case {
    uint64_t seed;
    size_t rows, cols, max_count;
    enum phy_weight_type type;
    enum pattern pattern;
    bool at_end;      /* guard pages touch the ends of the buffers, else the beginnings */
    size_t misplaced; /* bytes that the weights lie off their alignment */
    struct guarded w_map, x_map;
    unsigned char *w;
    float *x;               /* (max_count, cols) */
    float *decoded;         /* (rows, cols) */
    double *sum, *absolute; /* (max_count, rows) sums of products, and of their magnitudes */
};

static void sum_exactly(struct matrix_case *c)
{
    const size_t row_bytes = row_bytes_of(c->type, c->cols);
    for (size_t r = 0; r < c->rows; r++) {
        float *row = c->decoded + r * c->cols;
        phy_weight_decode_row(c->type, c->w + r * row_bytes, c->cols, row);
        for (size_t n = 0; n < c->max_count; n++) {
            const float *x = c->x + n * c->cols;
            double sum = 0, absolute = 0;
            for (size_t k = 0; k < c->cols; k++) {
                double product = (double)row[k] * (double)x[k];
                sum += product;
                absolute += fabs(product);
            }
            c->sum[n * c->rows + r] = sum;
            c->absolute[n * c->rows + r] = absolute;
        }
    }
}

static void case_make(struct matrix_case *c)
{
    c->seed = parity_seed;
    c->w_map = guarded_create(c->rows * row_bytes_of(c->type, c->cols) + c->misplaced, c->at_end);
    c->w = (unsigned char *)c->w_map.data + (c->at_end ? 0 : c->misplaced);
    c->x_map = guarded_create(c->max_count * c->cols * sizeof *c->x, c->at_end);
    c->x = c->x_map.data;
    c->sum = malloc(c->max_count * c->rows * sizeof *c->sum);
    c->absolute = malloc(c->max_count * c->rows * sizeof *c->absolute);
    c->decoded = malloc(c->rows * c->cols * sizeof *c->decoded);
    draw_matrix(c->type, c->pattern, c->rows, c->cols, c->w);
    for (size_t i = 0; i < c->max_count * c->cols; i++)
        c->x[i] = draw_activation(c->pattern);
    sum_exactly(c);
}

static void case_free(struct matrix_case *c)
{
    guarded_destroy(&c->w_map);
    guarded_destroy(&c->x_map);
    free(c->sum);
    free(c->absolute);
    free(c->decoded);
}

/* ---- one product ---- */

static float *panel;
static const float untouched = 12345.678f;

static void run_rows(const struct phy_block_matmul_variant *variant, bool matvec, const struct phy_matmul *product,
                     size_t begin, size_t end)
{
    if (matvec)
        variant->matvec(product, begin, end);
    else
        variant->matmul(product, begin, end, panel);
}

/* Shares of every length but the handy ones. */
static void run_in_shares(const struct phy_block_matmul_variant *variant, bool matvec, const struct phy_matmul *product)
{
    for (size_t begin = 0, end; begin < product->rows; begin = end) {
        end = begin + 1 + random_below(product->rows < 40 ? 3 : 77);
        end = end > product->rows ? product->rows : end;
        run_rows(variant, matvec, product, begin, end);
    }
}

/* Panels of the rows of x; none if the form has no use for them. */
static struct guarded turn_rows(const struct phy_block_matmul_variant *variant, const struct phy_matmul *product)
{
    const struct phy_matmul_variant *floats = phy_matmul_variant_named(variant->name);
    const size_t count = product->count, cols = product->cols;
    const size_t panels = (count + PHY_X_PANEL_ROWS - 1) / PHY_X_PANEL_ROWS;
    if (!floats->turn_rows)
        return (struct guarded){0};
    struct guarded map = guarded_create(panels * PHY_X_PANEL_ROWS * cols * sizeof(float), true);
    for (size_t n = 0; n < count; n += PHY_X_PANEL_ROWS)
        floats->turn_rows(product->x + n * cols, count - n < PHY_X_PANEL_ROWS ? count - n : PHY_X_PANEL_ROWS, cols,
                          (float *)map.data + n * cols);
    return map;
}

/* The product of the last `count` rows of x, so that x ends at its guard page. `first_bits` (max_count, rows) holds the
 * bits that the family gave before, if `known`. */
static void check_product(const struct matrix_case *c, const struct phy_block_matmul_variant *variant, bool matvec,
                          size_t count, float *first_bits, bool known, struct worst *worst)
{
    char where[160];
    const size_t stride = c->rows + GAP, first = c->max_count - count, values = (count - 1) * stride + c->rows;
    struct guarded y_map = guarded_create(values * sizeof(float), c->at_end);
    float *y = y_map.data;
    struct phy_matmul product = {c->w,  c->type, c->rows, c->cols, c->x + first * c->cols,
                                 count, y,       stride,  NULL,    false};
    struct guarded turned = {0};
    if (!matvec)
        turned = turn_rows(variant, &product);
    snprintf(where, sizeof where, "%s %s %s %zux%zu by %zu, %s, %zu off", variant->name, matvec ? "matvec" : "matmul",
             phy_weight_format(c->type)->name, c->rows, c->cols, count, pattern_names[c->pattern], c->misplaced);
    for (int way = 0; way < (turned.data ? 4 : 2); way++) {
        const bool shared = way % 2, again = way > 1;
        product.x_panels = again ? turned.data : NULL;
        for (size_t i = 0; i < values; i++)
            y[i] = untouched;
        if (shared)
            run_in_shares(variant, matvec, &product);
        else
            run_rows(variant, matvec, &product, 0, c->rows);
        for (size_t n = 0; n < count; n++) {
            float *bits = first_bits + (first + n) * c->rows;
            if (!known && way == 0)
                memcpy(bits, y + n * stride, c->rows * sizeof *bits);
            else if (memcmp(bits, y + n * stride, c->rows * sizeof *bits) != 0)
                fail_msg("%s: row %zu of x has other bits %s; PHY_SEED=%llu", where, n,
                         again    ? "by panels of x"
                         : shared ? "in shares"
                                  : "with this many rows of x",
                         (unsigned long long)c->seed);
            for (size_t i = c->rows; n + 1 < count && i < stride; i++)
                assert_true(y[n * stride + i] == untouched);
            for (size_t r = 0; r < c->rows; r++) {
                size_t at = (first + n) * c->rows + r;
                /* A result that is subnormal is exact to half of its own last place. */
                compare(worst, (double)y[n * stride + r], c->sum[at], 4e-6 * c->absolute[at] + 0x1p-149, at, c->seed,
                        where);
            }
        }
    }
    guarded_destroy(&y_map);
    if (turned.data)
        guarded_destroy(&turned);
}

static void check_family(const struct matrix_case *c, const struct phy_block_matmul_variant *variant, bool matvec,
                         const size_t *counts, float *bits, struct worst *worst)
{
    bool known = false;
    /* The most rows first: the others are a part of them. */
    for (size_t i = 0; counts[i]; i++) {
        if (matvec && counts[i] > PHY_MATVEC_MAX_COUNT)
            continue;
        if (!known && matvec && c->max_count >= PHY_MATVEC_MAX_COUNT && counts[i] != PHY_MATVEC_MAX_COUNT) {
            check_product(c, variant, true, PHY_MATVEC_MAX_COUNT, bits, false, worst);
            known = true;
        }
        check_product(c, variant, matvec, counts[i], bits, known, worst);
        known = true;
    }
}

/* Decoded weights are equal; zeros of either sign are. */
static void check_decoding(const struct matrix_case *c, const struct phy_block_matmul_variant *variant)
{
    const size_t row = c->rows / 2, rows = c->rows - row;
    struct guarded out = guarded_create(rows * c->cols * sizeof(float), c->at_end);
    const struct phy_matmul product = {.w = c->w, .type = c->type, .rows = c->rows, .cols = c->cols};
    variant->decode(&product, row, c->rows, out.data);
    for (size_t i = 0; i < rows * c->cols; i++) {
        const float got = ((const float *)out.data)[i], expected = c->decoded[row * c->cols + i];
        if (got != expected)
            fail_msg("%s decode %s %zux%zu, %s: element %zu: got %.9g, expected %.9g; PHY_SEED=%llu", variant->name,
                     phy_weight_format(c->type)->name, c->rows, c->cols, pattern_names[c->pattern], i, (double)got,
                     (double)expected, (unsigned long long)c->seed);
    }
    guarded_destroy(&out);
}

static void run_case(struct matrix_case c, const size_t *counts, struct worst *worst)
{
    struct phy_cpu_features have = phy_cpu_detect();
    c.max_count = counts[0];
    case_make(&c);
    float *bits = malloc(c.max_count * c.rows * sizeof *bits);
    for (const struct phy_block_matmul_variant *v = phy_block_matmul_variants; v->name; v++) {
        if (!phy_cpu_meets(&have, &v->needs))
            continue;
        check_decoding(&c, v);
        for (int matvec = 0; matvec < 2 && c.type >= PHY_WEIGHT_F32; matvec++)
            check_family(&c, v, matvec, counts, bits, worst);
    }
    free(bits);
    case_free(&c);
}

/* ---- the shapes ---- */

static const size_t usual_counts[] = {13, 8, 5, 2, 1, 0};

static void matches_the_sum_in_float64_for_every_shape(void **state)
{
    static const size_t rows[] = {1, 3, 127}, widths[] = {1, 31, 32, 576, 640, 1152, 2880, 3584};
    static const size_t few[] = {8, 1, 0}, tall[] = {64, 13, 2, 0};
    struct worst worst = {0};
    (void)state;
    for (int type = PHY_WEIGHT_F32; type < PHY_WEIGHT_TYPE_COUNT; type++) {
        for (size_t r = 0; r < sizeof rows / sizeof *rows; r++) {
            for (size_t w = 0; w < sizeof widths / sizeof *widths; w++) {
                const size_t weights = rows[r] * widths[w];
                run_case((struct matrix_case){.rows = rows[r],
                                              .cols = widths[w],
                                              .type = (enum phy_weight_type)type,
                                              .at_end = (r + w) % 2 == 0,
                                              .misplaced = (w + (size_t)type) % 4},
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
    static const size_t few[] = {5, 1, 0}, many[] = {512, 12, 0};
    struct worst worst = {0};
    (void)state;
    for (int type = PHY_WEIGHT_F32; type < PHY_WEIGHT_TYPE_COUNT; type++) {
        const enum phy_weight_type t = (enum phy_weight_type)type;
        run_case((struct matrix_case){.rows = 3, .cols = 18944, .type = t, .at_end = true}, few, &worst);
        run_case((struct matrix_case){.rows = 5, .cols = 18944, .type = t, .pattern = ALL_EQUAL, .at_end = true},
                 usual_counts, &worst);
        run_case((struct matrix_case){.rows = 33, .cols = 95, .type = t, .at_end = true}, many, &worst);
    }
    run_case((struct matrix_case){.rows = 4096, .cols = 288, .type = PHY_WEIGHT_Q4_K, .at_end = true}, few, &worst);
    assert_true(report_worst(&worst, "long matrices"));
}

static void matches_the_sum_in_float64_for_every_pattern_and_place(void **state)
{
    static const size_t counts[] = {13, 8, 1, 0}, widths[] = {1, 7, 16, 33, 255, 256, 257, 511, 1025};
    struct worst worst = {0};
    (void)state;
    for (int type = 0; type < PHY_WEIGHT_TYPE_COUNT; type++) {
        for (int p = 0; p < PATTERNS; p++) {
            for (size_t w = 0; w < sizeof widths / sizeof *widths; w++) {
                run_case((struct matrix_case){.rows = 1 + random_below(37),
                                              .cols = widths[w],
                                              .type = (enum phy_weight_type)type,
                                              .pattern = (enum pattern)p,
                                              .at_end = w % 2 == 0,
                                              .misplaced = random_below(4)},
                         counts, &worst);
            }
        }
    }
    assert_true(report_worst(&worst, "patterns"));
}

/* Only a weight that is no number makes a sum that is none: not one beyond the width, nor one in a block of zeros. */
static void codes_that_are_no_number_reach_only_their_own_sums(void **state)
{
    struct phy_cpu_features have = phy_cpu_detect();
    enum { COLS = 300, BLOCK = 257 };
    uint8_t w[4][2 * BLOCK] = {0};
    float x[COLS], y[4];
    (void)state;
    for (int i = 0; i < COLS; i++)
        x[i] = 1;
    for (int r = 0; r < 4; r++) {
        memset(w[r], 0x38, 2 * BLOCK); /* ones */
    }
    w[1][5] = 0x7F;
    w[2][BLOCK + COLS - 256] = 0xFF;
    w[3][9] = 0x7F;
    w[3][BLOCK - 1] = 0x80; /* minus zero */
    for (const struct phy_block_matmul_variant *v = phy_block_matmul_variants; v->name; v++) {
        if (!phy_cpu_meets(&have, &v->needs))
            continue;
        for (int matvec = 0; matvec < 2; matvec++) {
            const struct phy_matmul product = {w, PHY_WEIGHT_FP8, 4, COLS, x, 1, y, 4, NULL, false};
            run_rows(v, matvec, &product, 0, 4);
            assert_true(y[0] == 300);
            assert_true(isnan(y[1]));
            assert_true(y[2] == 300);
            assert_true(y[3] == 44);
        }
    }
}

static void the_table_names_each_form_once_and_the_best_is_the_last_that_runs(void **state)
{
    struct phy_cpu_features have = phy_cpu_detect(), none = {0};
    const struct phy_block_matmul_variant *last = NULL;
    (void)state;
    assert_string_equal(phy_block_matmul_variants[0].name, "ref");
    for (const struct phy_block_matmul_variant *v = phy_block_matmul_variants; v->name; v++) {
        assert_true(v->row_unit >= 1 && v->row_unit <= PHY_MATMUL_MAX_ROW_UNIT);
        last = phy_cpu_meets(&have, &v->needs) ? v : last;
        printf("%s%s\n", v->name, phy_cpu_meets(&have, &v->needs) ? "" : ": skipped, not on this processor");
    }
    assert_ptr_equal(phy_block_matmul_variant_best(&have), last);
    assert_ptr_equal(phy_block_matmul_variant_best(&none), &phy_block_matmul_variants[0]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_table_names_each_form_once_and_the_best_is_the_last_that_runs),
        cmocka_unit_test(codes_that_are_no_number_reach_only_their_own_sums),
        cmocka_unit_test(matches_the_sum_in_float64_for_every_shape),
        cmocka_unit_test(matches_the_sum_in_float64_for_long_matrices),
        cmocka_unit_test(matches_the_sum_in_float64_for_every_pattern_and_place),
    };
    parity_begin();
    struct guarded panel_map = guarded_create(PHY_MATMUL_PANEL_BYTES, true); /* a whole number of pages: aligned */
    panel = panel_map.data;
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    guarded_destroy(&panel_map);
    return failed;
}
