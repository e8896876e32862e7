/* SPDX-License-Identifier: Apache-2.0 */
/* Every form of the bitmap's kernels against sums in float64, in buffers with guard pages, and what the check of a
 * matrix lets pass. PHY_SEED sets another seed. */
#include "support/test.h"

#include "base/checked_math.h"
#include "kernels/bitmap_matmul.h"
#include "support/guarded.h"
#include "support/random_blocks.h"

struct bitmap_case {
    uint64_t seed;
    size_t rows, cols, count;
    unsigned kept; /* of 16 weights */
    enum phy_weight_type value;
    enum pattern pattern;
    struct guarded codes, w_map, x_map;
    uint64_t bytes;
    struct phy_bitmap w;
    float *decoded; /* (rows, cols) */
};

/* The matrix in a buffer that ends where it does. */
static void encode(struct bitmap_case *c)
{
    const size_t code = phy_weight_float_bytes(c->value), row_bytes = c->cols * code;
    const uint8_t *codes = c->codes.data;
    uint64_t values = 0;
    struct phy_bitmap view;
    assert_true(phy_bitmap_view(&view, phy_weight_bitmap_of(c->value), NULL, c->rows, c->cols));
    for (size_t r = 0; r < c->rows; r++)
        values += phy_bitmap_encode_row(c->value, codes + r * row_bytes, c->cols, NULL, NULL);
    assert_true(phy_bitmap_bytes(&view, values, &c->bytes));
    c->w_map = guarded_create(c->bytes, true);
    uint8_t *data = c->w_map.data;
    assert_true(phy_bitmap_view(&c->w, phy_weight_bitmap_of(c->value), data, c->rows, c->cols));
    for (size_t r = 0, at = 0; r <= c->rows; r++) {
        phy_store_u32(data + 4 * r, (uint32_t)at);
        if (r < c->rows)
            at += phy_bitmap_encode_row(c->value, codes + r * row_bytes, c->cols,
                                        data + c->w.bits_at + 8 * r * c->w.words, data + c->w.values_at + at * code);
    }
}

static void case_make(struct bitmap_case *c)
{
    char fact[200];
    c->seed = parity_seed;
    const size_t code = phy_weight_float_bytes(c->value), values = c->rows * c->cols;
    c->codes = guarded_create(values * code, true);
    c->x_map = guarded_create(c->count * c->cols * sizeof(float), true);
    draw_matrix(c->value, c->pattern, c->rows, c->cols, c->codes.data);
    for (size_t i = 0; i < values; i++) {
        if (random_below(16) >= c->kept)
            memset((uint8_t *)c->codes.data + i * code, 0, code);
    }
    for (size_t i = 0; i < c->count * c->cols; i++)
        ((float *)c->x_map.data)[i] = draw_activation(c->pattern);
    c->decoded = malloc(values * sizeof *c->decoded);
    phy_weight_decode_row(c->value, c->codes.data, values, c->decoded);
    encode(c);
    if (!phy_bitmap_check(&c->w, c->bytes, fact, sizeof fact))
        fail_msg("%s", fact);
}

static void case_free(struct bitmap_case *c)
{
    guarded_destroy(&c->codes);
    guarded_destroy(&c->w_map);
    guarded_destroy(&c->x_map);
    free(c->decoded);
}

/* In shares of rows: the bits of each row of x alone. */
static void check_matvec(const struct bitmap_case *c, const struct phy_bitmap_variant *v, const char *where,
                         struct worst *worst)
{
    struct guarded y_map = guarded_create(c->count * c->rows * sizeof(float), true);
    float *y = y_map.data;
    const float *x = c->x_map.data;
    for (size_t begin = 0, end; begin < c->rows; begin = end) {
        end = begin + 1 + random_below(9);
        end = end > c->rows ? c->rows : end;
        v->matvec(&(struct phy_bitmap_product){c->w, x, c->count, y + begin, c->rows}, begin, end);
    }
    for (size_t n = 0; n < c->count; n++) {
        for (size_t r = 0; r < c->rows; r++) {
            double sum = 0, absolute = 0;
            for (size_t k = 0; k < c->cols; k++) {
                const double product = (double)c->decoded[r * c->cols + k] * (double)x[n * c->cols + k];
                sum += product;
                absolute += fabs(product);
            }
            compare(worst, (double)y[n * c->rows + r], sum, 4e-6 * absolute + 0x1p-149, n * c->rows + r, c->seed,
                    where);
        }
        float *alone = malloc(c->rows * sizeof *alone);
        v->matvec(&(struct phy_bitmap_product){c->w, x + n * c->cols, 1, alone, c->rows}, 0, c->rows);
        assert_memory_equal(alone, y + n * c->rows, c->rows * sizeof *alone);
        free(alone);
    }
    guarded_destroy(&y_map);
}

static void check_decode(const struct bitmap_case *c, const struct phy_bitmap_variant *v)
{
    struct guarded out = guarded_create(c->rows * c->cols * sizeof(float), true);
    v->decode(&c->w, 0, c->rows, out.data);
    assert_memory_equal(out.data, c->decoded, c->rows * c->cols * sizeof(float));
    const size_t middle = c->rows / 2;
    v->decode(&c->w, middle, c->rows, out.data);
    assert_memory_equal(out.data, c->decoded + middle * c->cols, (c->rows - middle) * c->cols * sizeof(float));
    guarded_destroy(&out);
}

static void run_case(struct bitmap_case c, struct worst *worst)
{
    struct phy_cpu_features have = phy_cpu_detect();
    char where[160];
    case_make(&c);
    for (const struct phy_bitmap_variant *v = phy_bitmap_variants; v->name; v++) {
        if (!phy_cpu_meets(&have, &v->needs))
            continue;
        snprintf(where, sizeof where, "%s bitmap of %s, %zux%zu, %zu rows of x, %u/16 kept, %s", v->name,
                 phy_weight_format(c.value)->name, c.rows, c.cols, c.count, c.kept, pattern_names[c.pattern]);
        check_matvec(&c, v, where, worst);
        check_decode(&c, v);
    }
    case_free(&c);
}

static void matches_the_sum_in_float64_for_every_shape(void **state)
{
    static const size_t rows[] = {1, 3, 127}, widths[] = {1, 31, 32, 64, 65, 576, 640, 1152, 2880, 3584};
    static const size_t counts[] = {1, 2, 5, 8};
    struct worst worst = {0};
    (void)state;
    for (int type = 0; type < PHY_WEIGHT_FLOAT_COUNT; type++) {
        for (size_t r = 0; r < sizeof rows / sizeof *rows; r++) {
            for (size_t w = 0; w < sizeof widths / sizeof *widths; w++)
                run_case((struct bitmap_case){.rows = rows[r],
                                              .cols = widths[w],
                                              .count = rows[r] * widths[w] > 200000 ? 1 : counts[(r + w) % 4],
                                              .kept = 8,
                                              .value = (enum phy_weight_type)type},
                         &worst);
        }
        run_case(
            (struct bitmap_case){.rows = 3, .cols = 18944, .count = 5, .kept = 8, .value = (enum phy_weight_type)type},
            &worst);
    }
    assert_true(report_worst(&worst, "shapes"));
}

static void matches_the_sum_in_float64_for_every_density_and_pattern(void **state)
{
    struct worst worst = {0};
    (void)state;
    for (int type = 0; type < PHY_WEIGHT_FLOAT_COUNT; type++) {
        for (int p = 0; p < PATTERNS; p++) {
            for (unsigned kept = 0; kept <= 16; kept += kept ? 5 : 1)
                run_case((struct bitmap_case){.rows = 1 + random_below(20),
                                              .cols = 1 + random_below(700),
                                              .count = 1 + random_below(8),
                                              .kept = kept,
                                              .value = (enum phy_weight_type)type,
                                              .pattern = (enum pattern)p},
                         &worst);
        }
    }
    assert_true(report_worst(&worst, "densities"));
}

/* All 65,536 codes of a 16-bit type, NaNs of both kinds among them: the bits of the decoder of plain rows. */
static void every_code_decodes_to_the_same_bits_in_every_form(void **state)
{
    const struct phy_cpu_features have = phy_cpu_detect();
    static const enum phy_weight_type types[] = {PHY_WEIGHT_F16, PHY_WEIGHT_BF16};
    enum { SIDE = 256, CODES = SIDE * SIDE };
    (void)state;
    for (size_t t = 0; t < sizeof types / sizeof *types; t++) {
        struct bitmap_case c = {.rows = SIDE, .cols = SIDE, .value = types[t]};
        c.codes = guarded_create(CODES * sizeof(uint16_t), true);
        for (size_t i = 0; i < CODES; i++)
            phy_store_u16((uint8_t *)c.codes.data + 2 * i, (uint16_t)i);
        c.decoded = malloc(CODES * sizeof *c.decoded);
        phy_weight_decode_row(c.value, c.codes.data, CODES, c.decoded);
        for (uint32_t i = 0x7C01; i < 0x8000 && types[t] == PHY_WEIGHT_F16; i++) {
            uint32_t bits[2];
            memcpy(&bits[0], &c.decoded[i], sizeof *bits);
            memcpy(&bits[1], &c.decoded[i | 0x8000], sizeof *bits);
            assert_int_equal(bits[0], 0x7FC00000 | (i & 0x3FF) << 13);
            assert_int_equal(bits[1], bits[0] | 0x80000000);
        }
        encode(&c);
        for (const struct phy_bitmap_variant *v = phy_bitmap_variants; v->name; v++) {
            if (phy_cpu_meets(&have, &v->needs))
                check_decode(&c, v);
        }
        guarded_destroy(&c.codes);
        guarded_destroy(&c.w_map);
        free(c.decoded);
    }
}

static void a_negative_zero_is_a_weight(void **state)
{
    const uint16_t codes[3] = {0x8000, 0, 0x3F80};
    uint8_t bits[8], values[6];
    (void)state;
    assert_int_equal(phy_bitmap_encode_row(PHY_WEIGHT_BF16, (const uint8_t *)codes, 3, bits, values), 2);
    assert_int_equal(bits[0], 5);
    assert_memory_equal(values, &codes[0], 2);
    assert_memory_equal(values + 2, &codes[2], 2);
}

/* 2 x 70 of bf16: two words a row, 6 bits of the second. Every damage that would lead a kernel astray. */
static void damaged_matrices_are_refused(void **state)
{
    struct bitmap_case c = {.rows = 2, .cols = 70, .count = 1, .kept = 8, .value = PHY_WEIGHT_BF16};
    char fact[200] = "";
    (void)state;
    case_make(&c);
    uint8_t *data = c.w_map.data;
    const size_t bits = c.w.bits_at, last = c.bytes - 1;
    assert_int_equal(bits, 16); /* 3 counts and 4 zeros */
    const struct {
        size_t at;
        uint8_t flip;
        const char *fact;
    } damages[] = {
        {0, 1, "where zeros belong"},       {3, 0x80, "where zeros belong"},      {4, 1, "row 0 has values 0 to"},
        {7, 0xFF, "row 0 has values 0 to"}, {8, 1, "bytes, a matrix of"},         {11, 0x80, "bytes, a matrix of"},
        {12, 1, "where zeros belong"},      {bits, 1, "its bitmap has"},          {bits + 16 + 3, 4, "its bitmap has"},
        {last, 1, "where zeros belong"},    {last - 63, 1, "where zeros belong"},
    };
    for (size_t i = 0; i < sizeof damages / sizeof *damages; i++) {
        data[damages[i].at] ^= damages[i].flip;
        assert_false(phy_bitmap_check(&c.w, c.bytes, fact, sizeof fact));
        if (!strstr(fact, damages[i].fact))
            fail_msg("byte %zu: %s", damages[i].at, fact);
        data[damages[i].at] ^= damages[i].flip;
    }
    /* A bit that moves beyond the columns keeps the count. */
    const unsigned from = data[bits + 8] ? (unsigned)__builtin_ctz(data[bits + 8]) : 0;
    assert_true(data[bits + 8] & 63);
    data[bits + 8] ^= (uint8_t)(1u << from);
    data[bits + 8 + 3] ^= 1;
    assert_false(phy_bitmap_check(&c.w, c.bytes, fact, sizeof fact));
    assert_non_null(strstr(fact, "row 0 has bits beyond its 70 columns"));
    data[bits + 8] ^= (uint8_t)(1u << from);
    data[bits + 8 + 3] ^= 1;
    for (uint64_t bytes = 0; bytes < c.bytes; bytes++)
        assert_false(phy_bitmap_check(&c.w, bytes, fact, sizeof fact));
    assert_false(phy_bitmap_check(&c.w, c.bytes + 1, fact, sizeof fact));
    assert_true(phy_bitmap_check(&c.w, c.bytes, fact, sizeof fact));
    case_free(&c);
}

static void sizes_that_overflow_have_no_view(void **state)
{
    struct phy_bitmap view;
    uint64_t bytes;
    (void)state;
    assert_false(phy_bitmap_view(&view, PHY_WEIGHT_BITMAP_F32, NULL, SIZE_MAX, 1));
    assert_false(phy_bitmap_view(&view, PHY_WEIGHT_BITMAP_F32, NULL, SIZE_MAX / 8, SIZE_MAX));
    assert_true(phy_bitmap_view(&view, PHY_WEIGHT_BITMAP_F32, NULL, 1 << 24, 1 << 24));
    assert_false(phy_bitmap_bytes(&view, UINT64_C(1) << 32, &bytes));
}

int main(void)
{
    parity_begin();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(matches_the_sum_in_float64_for_every_shape),
        cmocka_unit_test(matches_the_sum_in_float64_for_every_density_and_pattern),
        cmocka_unit_test(every_code_decodes_to_the_same_bits_in_every_form),
        cmocka_unit_test(a_negative_zero_is_a_weight),
        cmocka_unit_test(damaged_matrices_are_refused),
        cmocka_unit_test(sizes_that_overflow_have_no_view),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
