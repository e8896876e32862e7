/* SPDX-License-Identifier: Apache-2.0 */
/* Every form of the weight products against sums in float64, in buffers with guard pages; and those of activations that
 * are rounded to bf16, of what was rounded before. PHY_SEED sets another seed. */
#include "support/test.h"

#include "kernels/bf16_matmul.h"
#include "kernels/matmul.h"
#include "quant/small_float.h"
#include "support/guarded.h"
#include "support/parity.h"

enum { MAX_COUNT = 512, GAP = 3 };

enum pattern { GAUSSIAN, ZEROS, POSITIVE, ALL_EQUAL, EXTREMES, SUBNORMALS, PATTERNS };

static const char *const pattern_names[] = {"gaussian", "zeros", "positive", "all equal", "extremes", "subnormals"};
static const char *const type_names[] = {"bf16", "f16", "f32"};
static const enum phy_weight_type types[] = {PHY_WEIGHT_BF16, PHY_WEIGHT_F16, PHY_WEIGHT_F32};
enum { TYPES = sizeof types / sizeof *types };

/* A weight matrix and its rows of x, and what their product is. */
struct matrix_case {
    uint64_t seed;
    size_t rows, cols, max_count;
    enum phy_weight_type type;
    bool rounded; /* x is bf16, for the kernels that round it */
    enum pattern pattern;
    bool at_end;      /* guard pages touch the ends of the buffers, else the beginnings */
    size_t misplaced; /* bytes that the weights lie off their alignment */
    struct guarded w_map, x_map;
    unsigned char *w;
    float *x;               /* (max_count, cols) */
    double *sum, *absolute; /* (max_count, rows) sums of products, and of their magnitudes */
    double *flushed;        /* (max_count) what weights counted as zeros may lack */
};

static float widen(const void *codes, enum phy_weight_type type, size_t index)
{
    const uint8_t *at = (const uint8_t *)codes + index * phy_weight_float_bytes(type);
    if (type == PHY_WEIGHT_F32)
        return phy_float_of_bits(phy_load_u32(at));
    const uint16_t half = phy_load_u16(at);
    return type == PHY_WEIGHT_F16 ? phy_f16_widen(half) : phy_bf16_widen(half);
}

/* Bits of one weight: of binary32, or of the 16-bit type. None is an infinity or a NaN. */
static uint32_t draw_code(const struct matrix_case *c)
{
    uint32_t word = random_bits(), sign = word & 0x80000000u;
    switch (c->pattern) {
    case ZEROS:
        return word % 2 ? 0 : c->type == PHY_WEIGHT_F32 ? 0x80000000u : 0x8000u;
    case ALL_EQUAL: /* every addition of a binade rounds the same way */
        return c->type == PHY_WEIGHT_F32 ? 0x3EAAAAABu : c->type == PHY_WEIGHT_F16 ? 0x3555u : 0x3EABu; /* 1/3 */
    case EXTREMES: /* products reach 2^100, sums stay finite */
        if (c->type == PHY_WEIGHT_F16)
            return (word & 0x83FFu) | (word >> 16) % 31 << 10;
        word = sign | (77 + (word >> 8) % 100) << 23 | (random_bits() & 0x7FFFFFu);
        return c->type == PHY_WEIGHT_F32 ? word : word >> 16;
    case SUBNORMALS:
        if (c->type == PHY_WEIGHT_F16)
            return word & 0x83FFu;
        word = sign | (word & 0x7FFFFFu) | (word >> 24) % 2 << 23;
        return c->type == PHY_WEIGHT_F32 ? word : word >> 16;
    default: {
        float value = 0.05f * gaussian();
        value = c->pattern == POSITIVE ? fabsf(value) : value;
        if (c->type == PHY_WEIGHT_F32)
            return phy_bits_of_float(value);
        if (c->type == PHY_WEIGHT_BF16)
            return phy_bits_of_float(value) >> 16;
        /* Exponents -14 .. -1 and a random mantissa: binary16 without a rounding of our own. */
        return (c->pattern == POSITIVE ? 0 : sign >> 16) | (1 + (word >> 16) % 14) << 10 | (word & 0x3FFu);
    }
    }
}

static float draw_x(enum pattern pattern)
{
    float value = gaussian();
    switch (pattern) {
    case POSITIVE:
        return fabsf(value);
    case ALL_EQUAL:
        return 0.7f;
    case EXTREMES:
        return ldexpf(value, (int)random_below(80) - 40);
    case SUBNORMALS: /* large enough that the sums of subnormal weights are normal */
        return ldexpf(value, 40);
    default:
        return value;
    }
}

static void sum_exactly(struct matrix_case *c)
{
    float *row = malloc(c->cols * sizeof *row);
    for (size_t r = 0; r < c->rows; r++) {
        for (size_t k = 0; k < c->cols; k++)
            row[k] = widen(c->w, c->type, r * c->cols + k);
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
    for (size_t n = 0; n < c->max_count; n++) {
        c->flushed[n] = 0;
        for (size_t k = 0; k < c->cols && c->rounded; k++)
            c->flushed[n] += 0x1p-126 * fabs((double)c->x[n * c->cols + k]);
    }
    free(row);
}

static void case_make(struct matrix_case *c)
{
    size_t width = c->type == PHY_WEIGHT_F32 ? 4 : 2, codes = c->rows * c->cols;
    c->seed = parity_seed;
    c->w_map = guarded_create(codes * width + c->misplaced, c->at_end);
    c->w = (unsigned char *)c->w_map.data + (c->at_end ? 0 : c->misplaced);
    c->x_map = guarded_create(c->max_count * c->cols * sizeof *c->x, c->at_end);
    c->x = c->x_map.data;
    c->sum = malloc(c->max_count * c->rows * sizeof *c->sum);
    c->absolute = malloc(c->max_count * c->rows * sizeof *c->absolute);
    c->flushed = malloc(c->max_count * sizeof *c->flushed);
    for (size_t i = 0; i < codes; i++) {
        uint32_t code = draw_code(c);
        memcpy(c->w + i * width, &code, width);
    }
    for (size_t i = 0; i < c->max_count * c->cols; i++)
        c->x[i] = c->rounded ? phy_bf16_widen(phy_bf16_round(draw_x(c->pattern))) : draw_x(c->pattern);
    sum_exactly(c);
}

static void case_free(struct matrix_case *c)
{
    guarded_destroy(&c->w_map);
    guarded_destroy(&c->x_map);
    free(c->sum);
    free(c->absolute);
    free(c->flushed);
}

/* ---- one product ---- */

static float *panel;
static const float untouched = 12345.678f;

/* A form of either kernel. */
struct subject {
    const char *name;
    const struct phy_matmul_variant *floats;
    const struct phy_bf16_matmul_variant *bf16; /* or NULL */
};

static void run_rows(const struct subject *subject, bool matvec, const struct phy_matmul *product, const void *rounded,
                     size_t begin, size_t end)
{
    const struct phy_bf16_matmul bf16 = {product->w,     product->rows, product->cols,     rounded,
                                         product->count, product->y,    product->y_stride, product->cached};
    if (subject->bf16 && matvec)
        subject->bf16->matvec(&bf16, begin, end);
    else if (subject->bf16)
        subject->bf16->matmul(&bf16, begin, end, panel);
    else if (matvec)
        subject->floats->matvec(product, begin, end);
    else
        subject->floats->matmul(product, begin, end, panel);
}

/* Shares of every length but the handy ones. */
static void run_in_shares(const struct subject *subject, bool matvec, const struct phy_matmul *product,
                          const void *rounded)
{
    for (size_t begin = 0, end; begin < product->rows; begin = end) {
        end = begin + 1 + random_below(product->rows < 40 ? 3 : 77);
        end = end > product->rows ? product->rows : end;
        run_rows(subject, matvec, product, rounded, begin, end);
    }
}

/* Panels of the rows of x as that form's matmul takes them, `row_bytes` each row; none if it takes rows. */
static struct guarded turn_rows(const struct subject *subject, const struct phy_matmul *product, const char *rounded,
                                size_t row_bytes)
{
    const size_t count = product->count, panels = (count + PHY_X_PANEL_ROWS - 1) / PHY_X_PANEL_ROWS;
    if (subject->bf16 ? !subject->bf16->turn_rows : !subject->floats->turn_rows)
        return (struct guarded){0};
    struct guarded map = guarded_create(panels * PHY_X_PANEL_ROWS * row_bytes, true);
    for (size_t n = 0; n < count; n += PHY_X_PANEL_ROWS) {
        const size_t some = count - n < PHY_X_PANEL_ROWS ? count - n : PHY_X_PANEL_ROWS;
        void *panel_of_x = (char *)map.data + n * row_bytes;
        if (subject->bf16)
            subject->bf16->turn_rows(rounded + n * row_bytes, some, product->cols, panel_of_x);
        else
            subject->floats->turn_rows(product->x + n * product->cols, some, product->cols, panel_of_x);
    }
    return map;
}

/* The product of the last `count` rows of x, so that x ends at its guard page. `first_bits` (max_count, rows) holds the
 * bits that the family gave before, if `known`. */
static void check_product(const struct matrix_case *c, const struct subject *subject, bool matvec, size_t count,
                          float *first_bits, bool known, struct worst *worst)
{
    char where[160];
    const size_t stride = c->rows + GAP, first = c->max_count - count;
    struct guarded y_map = guarded_create(((count - 1) * stride + c->rows) * sizeof(float), c->at_end);
    float *y = y_map.data;
    struct phy_matmul product = {.w = c->w,
                                 .type = c->type,
                                 .rows = c->rows,
                                 .cols = c->cols,
                                 .x = c->x + first * c->cols,
                                 .count = count,
                                 .y = y,
                                 .y_stride = stride};
    /* Rows begin on 64 bytes, and those of a form that loads whole lines end at a page. */
    const size_t row_bytes = subject->bf16 ? subject->bf16->row_bytes(c->cols) : 64;
    struct guarded rounded = guarded_create(count * row_bytes, row_bytes % 64 == 0);
    for (size_t n = 0; n < count && subject->bf16; n++)
        subject->bf16->round_row(product.x + n * c->cols, c->cols, (char *)rounded.data + n * row_bytes);
    struct guarded turned = {0};
    if (!matvec)
        turned = turn_rows(subject, &product, rounded.data, subject->bf16 ? row_bytes : c->cols * sizeof *product.x);
    /* Rounded rows are turned or not; floats are there in both forms. */
    const void *taken = subject->bf16 && turned.data ? turned.data : rounded.data;
    const int ways = turned.data && !subject->bf16 ? 4 : 2;
    snprintf(where, sizeof where, "%s%s %s %s %zux%zu by %zu, %s, %zu off", subject->bf16 ? "rounded " : "",
             subject->name, matvec ? "matvec" : "matmul", type_names[c->type], c->rows, c->cols, count,
             pattern_names[c->pattern], c->misplaced);
    for (int way = 0; way < ways; way++) {
        const bool shared = way % 2, again = way > 1;
        product.x_panels = again ? turned.data : NULL;
        product.cached = shared;
        for (size_t i = 0; i < (count - 1) * stride + c->rows; i++)
            y[i] = untouched;
        if (shared)
            run_in_shares(subject, matvec, &product, taken);
        else
            run_rows(subject, matvec, &product, taken, 0, c->rows);
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
                compare(worst, (double)y[n * stride + r], c->sum[at],
                        4e-6 * c->absolute[at] + c->flushed[first + n] + 0x1p-149, at, c->seed, where);
            }
        }
    }
    guarded_destroy(&y_map);
    guarded_destroy(&rounded);
    if (turned.data)
        guarded_destroy(&turned);
}

static void check_subject(const struct matrix_case *c, const struct subject *v, const size_t *counts, float *bits,
                          struct worst *worst)
{
    for (int matvec = 0; matvec < 2; matvec++) {
        const size_t most = matvec ? PHY_MATVEC_MAX_COUNT : c->max_count;
        bool known = false;
        /* The most rows first: the others are a part of them. */
        for (size_t i = 0; counts[i]; i++) {
            if (counts[i] > most)
                continue;
            if (!known && matvec && c->max_count >= PHY_MATVEC_MAX_COUNT && counts[i] != PHY_MATVEC_MAX_COUNT) {
                check_product(c, v, true, PHY_MATVEC_MAX_COUNT, bits, false, worst);
                known = true;
            }
            check_product(c, v, matvec, counts[i], bits, known, worst);
            known = true;
        }
    }
}

static void check_case(const struct matrix_case *c, const size_t *counts, struct worst *worst)
{
    struct phy_cpu_features have = phy_cpu_detect();
    float *bits = malloc(c->max_count * c->rows * sizeof *bits);
    for (const struct phy_matmul_variant *v = phy_matmul_variants; v->name && !c->rounded; v++) {
        if (phy_cpu_meets(&have, &v->needs))
            check_subject(c, &(struct subject){v->name, v, NULL}, counts, bits, worst);
    }
    for (const struct phy_bf16_matmul_variant *v = phy_bf16_matmul_variants; v->name && c->rounded; v++) {
        if (phy_cpu_meets(&have, &v->needs))
            check_subject(c, &(struct subject){v->name, NULL, v}, counts, bits, worst);
    }
    free(bits);
}

/* ---- the shapes ---- */

static void run_case(struct matrix_case c, const size_t *counts, struct worst *worst)
{
    c.max_count = counts[0];
    for (int rounded = 0; rounded < (c.type == PHY_WEIGHT_BF16 ? 2 : 1); rounded++) {
        c.rounded = rounded;
        case_make(&c);
        check_case(&c, counts, worst);
        case_free(&c);
    }
}

static const size_t usual_counts[] = {64, 13, 8, 5, 2, 1, 0};

static void matches_the_sum_in_float64_for_every_shape(void **state)
{
    static const size_t rows[] = {1, 3, 127}, widths[] = {1, 31, 32, 576, 640, 1152, 2880, 3584};
    struct worst worst = {0};
    (void)state;
    for (int t = 0; t < TYPES; t++) {
        for (size_t r = 0; r < sizeof rows / sizeof *rows; r++) {
            for (size_t w = 0; w < sizeof widths / sizeof *widths; w++)
                run_case((struct matrix_case){.rows = rows[r],
                                              .cols = widths[w],
                                              .type = types[t],
                                              .at_end = (r + w) % 2 == 0,
                                              .misplaced = (w + (size_t)t) % 4},
                         usual_counts, &worst);
        }
    }
    assert_true(report_worst(&worst, "shapes"));
}

static void matches_the_sum_in_float64_for_long_matrices(void **state)
{
    static const size_t few[] = {5, 1, 0}, many[] = {512, 12, 0}, panels[] = {113, 64, 48, 33, 17, 1, 0};
    struct worst worst = {0};
    (void)state;
    for (int t = 0; t < TYPES; t++) {
        run_case((struct matrix_case){.rows = 4096, .cols = 31, .type = types[t], .at_end = true}, usual_counts,
                 &worst);
        run_case((struct matrix_case){.rows = 4096, .cols = 32, .type = types[t], .misplaced = 1}, few, &worst);
        run_case((struct matrix_case){.rows = 3, .cols = 18944, .type = types[t], .at_end = true}, usual_counts,
                 &worst);
        run_case((struct matrix_case){.rows = 5, .cols = 18944, .type = types[t], .pattern = ALL_EQUAL, .at_end = true},
                 usual_counts, &worst);
        run_case((struct matrix_case){.rows = 33, .cols = 95, .type = types[t], .at_end = true}, many, &worst);
    }
    run_case((struct matrix_case){.rows = 61, .cols = 1171, .type = PHY_WEIGHT_BF16, .at_end = true}, panels, &worst);
    assert_true(report_worst(&worst, "long matrices"));
}

static void matches_the_sum_in_float64_for_every_pattern_and_place(void **state)
{
    static const size_t counts[] = {13, 8, 5, 1, 0}, widths[] = {1, 7, 15, 16, 17, 33, 1023, 1024, 1025, 2049};
    struct worst worst = {0};
    (void)state;
    for (int t = 0; t < TYPES; t++) {
        for (int p = 0; p < PATTERNS; p++) {
            for (size_t w = 0; w < sizeof widths / sizeof *widths; w++) {
                run_case((struct matrix_case){.rows = 1 + random_below(37),
                                              .cols = widths[w],
                                              .type = types[t],
                                              .pattern = (enum pattern)p,
                                              .at_end = w % 2 == 0,
                                              .misplaced = random_below(4)},
                         counts, &worst);
            }
        }
    }
    assert_true(report_worst(&worst, "patterns"));
}

/* All 65,536 codes of the 16-bit types but NaN, each alone in its sum. */
static void widens_every_code_exactly(void **state)
{
    static uint16_t codes[65536];
    static float one[16] = {1, 0}, y[65536];
    struct phy_cpu_features have = phy_cpu_detect();
    (void)state;
    for (int t = 0; t < 2; t++) {
        size_t rows = 0;
        for (uint32_t code = 0; code < 65536; code++) {
            uint16_t half = (uint16_t)code;
            if (!isnan(widen(&half, types[t], 0)) && !isinf(widen(&half, types[t], 0)))
                codes[rows++] = half;
        }
        for (const struct phy_matmul_variant *v = phy_matmul_variants; v->name; v++) {
            if (!phy_cpu_meets(&have, &v->needs))
                continue;
            for (int matvec = 0; matvec < 2; matvec++) {
                /* Once in the tail of a row, once in a whole vector of 8 or 16. */
                for (size_t cols = 1; cols <= 16; cols += 15) {
                    struct phy_matmul product = {.w = codes,
                                                 .type = types[t],
                                                 .rows = rows / cols,
                                                 .cols = cols,
                                                 .x = one,
                                                 .count = 1,
                                                 .y = y,
                                                 .y_stride = rows / cols};
                    run_rows(&(struct subject){v->name, v, NULL}, matvec, &product, NULL, 0, product.rows);
                    for (size_t r = 0; r < product.rows; r++)
                        assert_true(y[r] == widen(codes, types[t], r * cols));
                }
            }
        }
    }
}

/* Every form keeps the same values of x: those that C rounds to, but for subnormals, which become zeros. */
static void rounds_x_to_the_nearest_bf16_in_every_form(void **state)
{
    enum { MOST = 75 };
    struct phy_cpu_features have = phy_cpu_detect();
    float x[MOST];
    (void)state;
    for (const struct phy_bf16_matmul_variant *v = phy_bf16_matmul_variants; v->name; v++) {
        if (!phy_cpu_meets(&have, &v->needs))
            continue;
        for (size_t turn = 0; turn < 2000; turn++) {
            const size_t cols = 1 + turn % MOST, bytes = v->row_bytes(cols);
            const bool halves = v->row_bytes(1024) == 2048;
            struct guarded x_map = guarded_create(cols * sizeof(float), true);
            struct guarded map = guarded_create(bytes, bytes % 64 == 0);
            for (size_t k = 0; k < cols; k++) {
                /* Any bits; half of them next to a tie. */
                uint32_t bits = random_bits();
                bits = turn % 2 ? (bits & 0xFFFF0000u) | (0x8000u + (uint32_t)random_below(3) - 1) : bits;
                x[k] = phy_float_of_bits(bits);
            }
            memcpy(x_map.data, x, cols * sizeof *x);
            v->round_row(x_map.data, cols, map.data);
            for (size_t k = 0; k < bytes / (halves ? 2 : 4); k++) {
                const uint8_t *row = map.data;
                const uint32_t got = halves ? (uint32_t)phy_load_u16(row + 2 * k) << 16 : phy_load_u32(row + 4 * k);
                const float from = k < cols ? x[k] : 0;
                uint32_t want = (uint32_t)phy_bf16_round(from) << 16;
                if (fabsf(from) < 0x1p-126f)
                    want &= 0x80000000u;
                if (isnan(from) ? !isnan(phy_float_of_bits(got)) : got != want)
                    fail_msg("%s: %a becomes %08x, not %08x; PHY_SEED=%llu", v->name, (double)from, got, want,
                             (unsigned long long)parity_seed);
            }
            guarded_destroy(&x_map);
            guarded_destroy(&map);
        }
    }
}

static void the_table_names_each_form_once_and_the_best_is_the_last_that_runs(void **state)
{
    struct phy_cpu_features have = phy_cpu_detect(), none = {0};
    const struct phy_matmul_variant *last = NULL;
    (void)state;
    assert_string_equal(phy_matmul_variants[0].name, "ref");
    for (const struct phy_matmul_variant *v = phy_matmul_variants; v->name; v++) {
        assert_ptr_equal(phy_matmul_variant_named(v->name), v);
        assert_true(v->row_unit >= 1 && v->row_unit <= PHY_MATMUL_MAX_ROW_UNIT);
        last = phy_cpu_meets(&have, &v->needs) ? v : last;
        printf("%s%s\n", v->name, phy_cpu_meets(&have, &v->needs) ? "" : ": skipped, not on this processor");
    }
    assert_ptr_equal(phy_matmul_variant_best(&have), last);
    assert_ptr_equal(phy_matmul_variant_best(&none), &phy_matmul_variants[0]);
    assert_null(phy_matmul_variant_named("sse9"));

    const struct phy_bf16_matmul_variant *last_bf16 = NULL;
    assert_string_equal(phy_bf16_matmul_variants[0].name, "ref");
    for (const struct phy_bf16_matmul_variant *v = phy_bf16_matmul_variants; v->name; v++) {
        last_bf16 = phy_cpu_meets(&have, &v->needs) ? v : last_bf16;
        printf("rounded %s%s\n", v->name, phy_cpu_meets(&have, &v->needs) ? "" : ": skipped, not on this processor");
    }
    assert_ptr_equal(phy_bf16_matmul_variant_best(&have), last_bf16);
    assert_ptr_equal(phy_bf16_matmul_variant_best(&none), &phy_bf16_matmul_variants[0]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_table_names_each_form_once_and_the_best_is_the_last_that_runs),
        cmocka_unit_test(widens_every_code_exactly),
        cmocka_unit_test(rounds_x_to_the_nearest_bf16_in_every_form),
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
