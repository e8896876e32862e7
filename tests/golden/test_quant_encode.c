/* SPDX-License-Identifier: Apache-2.0 */
/* Every encoder against tests/golden/quant: source.f32.bin to <format>.blocks.bin, byte for byte, or to an error no
 * larger than the reference's; and every form of an encoder against its first. */
#include "support/test.h"

#include <math.h>
#include <stdlib.h>

#include "quant/encode_forms.h"
#include "quant/fp8.h"
#include "quant/weight_type.h"
#include "support/guarded.h"

/* One lane's conversions, which all forms share. */
#include "quant/lanes_ref.h"

#include "quant/encode_small.h"

enum { ROWS = 98, COLS = 512, ELEMENTS = ROWS * COLS };

static uint8_t *load(const char *name, size_t *bytes)
{
    char path[4096];
    snprintf(path, sizeof path, PHY_TEST_DATA "/golden/quant/%s", name);
    FILE *file = fopen(path, "rb");
    if (!file)
        fail_msg("cannot open %s", path);
    fseek(file, 0, SEEK_END);
    *bytes = (size_t)ftell(file);
    rewind(file);
    uint8_t *content = malloc(*bytes + 1);
    assert_int_equal(fread(content, 1, *bytes, file), *bytes);
    fclose(file);
    return content;
}

static const float *source(void)
{
    static float values[ELEMENTS];
    static bool loaded;
    if (!loaded) {
        size_t bytes;
        uint8_t *content = load("source.f32.bin", &bytes);
        assert_int_equal(bytes, sizeof values);
        for (size_t i = 0; i < ELEMENTS; i++)
            values[i] = phy_float_of_bits(phy_load_u32(content + 4 * i));
        free(content);
        loaded = true;
    }
    return values;
}

struct encoder {
    const struct phy_quant_format *format;
    const char *form;
    phy_encode_blocks *encode;
};

/* Every form that this processor runs, those of a format together, its reference first. */
static size_t encoders(struct encoder *out)
{
    const struct phy_cpu_features have = phy_cpu_detect();
    size_t count = 0;
    for (size_t i = 0; i < phy_quant_format_count; i++) {
        const struct phy_quant_format *format = &phy_quant_formats[i];
        if (!format->encode)
            continue;
        bool forms = false;
        for (const struct phy_encode_variant *v = phy_encode_variants; v->format; v++) {
            if (strcmp(v->format, format->name) == 0 && phy_cpu_meets(&have, &v->needs)) {
                out[count++] = (struct encoder){format, v->name, v->encode};
                forms = true;
            }
        }
        if (!forms)
            out[count++] = (struct encoder){format, "only", format->encode};
    }
    return count;
}

enum { MOST_ENCODERS = 64 };

static void writes_the_goldens_bytes(void **state)
{
    (void)state;
    static const char *const exact[] = {"f32", "f16", "bf16", "q4_0", "q4_1", "q5_0", "q5_1", "q8_0", "mxfp4"};
    struct encoder all[MOST_ENCODERS];
    size_t count = encoders(all), checked = 0;
    for (size_t n = 0; n < sizeof exact / sizeof *exact; n++) {
        char name[64];
        snprintf(name, sizeof name, "%s.%s.bin", n == 0 ? "source" : exact[n], n == 0 ? "f32" : "blocks");
        size_t bytes;
        uint8_t *expected = load(name, &bytes), *got = malloc(bytes);
        for (size_t i = 0; i < count; i++) {
            const struct phy_quant_format *f = all[i].format;
            if (strcmp(f->name, exact[n]) != 0)
                continue;
            assert_int_equal(bytes, ELEMENTS / f->elements * f->bytes);
            all[i].encode(source(), ELEMENTS / f->elements, got);
            for (size_t at = 0; at < bytes; at++) {
                if (got[at] != expected[at])
                    fail_msg("%s %s: byte %zu of block %zu is %02x, not %02x", f->name, all[i].form, at % f->bytes,
                             at / f->bytes, got[at], expected[at]);
            }
            checked++;
        }
        free(expected);
        free(got);
    }
    assert_true(checked >= sizeof exact / sizeof *exact);
}

static uint64_t fnv1a(const uint8_t *bytes, size_t count)
{
    uint64_t hash = 0xCBF29CE484222325u;
    for (size_t i = 0; i < count; i++)
        hash = (hash ^ bytes[i]) * 0x100000001B3u;
    return hash;
}

/* Another compiler or processor must not change what a store holds; a better search may, and then this table. */
static void writes_the_same_bytes_wherever_it_was_built(void **state)
{
    (void)state;
    static const struct {
        const char *format;
        uint64_t hash;
    } known[] = {
        {"q2_K", 0xCF2A181CE1D3C6DA},       {"q3_K", 0x707F2A71BD6C9026},       {"q4_K", 0xBA263A6C6C96F39E},
        {"q5_K", 0x4158215BFE5FC243},       {"q6_K", 0xE726768EA00634CC},       {"iq4_nl", 0x3FB0E9071B86AE8A},
        {"vindex_fp4", 0x4EFB89156E99E53F}, {"vindex_fp8", 0xDB797E87F8FA6F7D},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        const struct phy_quant_format *format = phy_quant_named(known[i].format);
        const size_t blocks = ELEMENTS / format->elements;
        uint8_t *bytes = malloc(blocks * format->bytes);
        format->encode(source(), blocks, bytes);
        const uint64_t hash = fnv1a(bytes, blocks * format->bytes);
        free(bytes);
        if (hash != known[i].hash)
            fail_msg("%s: the goldens' encoding hashes to 0x%016llX", format->name, (unsigned long long)hash);
    }
}

static double rms_error(const float *a, const float *b, size_t count)
{
    double sum = 0;
    for (size_t i = 0; i < count; i++)
        sum += ((double)a[i] - (double)b[i]) * ((double)a[i] - (double)b[i]);
    return sqrt(sum / (double)count);
}

/* source.f32.bin through the format; the caller frees. */
static float *encoded_and_decoded(const struct phy_quant_format *format)
{
    const size_t blocks = ELEMENTS / format->elements;
    uint8_t *bytes = malloc(blocks * format->bytes);
    float *out = malloc(ELEMENTS * sizeof *out);
    format->encode(source(), blocks, bytes);
    format->decode(bytes, blocks, out);
    free(bytes);
    return out;
}

struct listed {
    char set[32];
    size_t first_row, rows;
    double rmse;
    int judged;
};

/* The lines of encode_rmse.tsv about one format. */
static size_t listed_errors(const char *format, struct listed *out, size_t most)
{
    FILE *file = fopen(PHY_TEST_DATA "/golden/quant/encode_rmse.tsv", "r");
    assert_non_null(file);
    char line[256], name[32];
    size_t count = 0;
    while (fgets(line, sizeof line, file) && count < most) {
        struct listed *l = &out[count];
        if (sscanf(line, "%31s %31s %zu %zu %lf %*f %d", name, l->set, &l->first_row, &l->rows, &l->rmse, &l->judged) ==
            6)
            count += strcmp(name, format) == 0;
    }
    fclose(file);
    return count;
}

static void errs_no_more_than_the_reference_on_every_judged_row_set(void **state)
{
    (void)state;
    for (size_t i = 0; i < phy_quant_format_count; i++) {
        const struct phy_quant_format *format = &phy_quant_formats[i];
        struct listed sets[16];
        const size_t count = format->encode ? listed_errors(format->name, sets, 16) : 0;
        if (count == 0)
            continue;
        assert_int_equal(count, 11);
        float *got = encoded_and_decoded(format);
        print_message("%-10s", format->name);
        for (size_t n = 0; n < count; n++) {
            const size_t at = sets[n].first_row * COLS;
            const double error = rms_error(source() + at, got + at, sets[n].rows * COLS);
            if (sets[n].judged && sets[n].rmse > 0)
                print_message(" %s %.3f", sets[n].set, error / sets[n].rmse);
            /* Rounding of the sums aside: those that are searched err less, the others write the same bytes. */
            if (sets[n].judged && error > sets[n].rmse * (1 + 1e-9))
                fail_msg("%s, %s: error %.9g, the reference's is %.9g", format->name, sets[n].set, error, sets[n].rmse);
        }
        print_message("\n");
        free(got);
    }
}

static void errs_on_no_row_much_more_than_the_reference(void **state)
{
    (void)state;
    FILE *file = fopen(PHY_TEST_DATA "/golden/quant/encode_rmse_rows.tsv", "r");
    assert_non_null(file);
    char line[256], name[32];
    size_t row, checked = 0;
    double expected;
    const struct phy_quant_format *format = NULL;
    float *got = NULL;
    while (fgets(line, sizeof line, file)) {
        if (sscanf(line, "%31s %zu %lf", name, &row, &expected) != 3)
            continue;
        if (!format || strcmp(format->name, name) != 0) {
            free(got);
            format = phy_quant_named(name);
            got = format && format->encode ? encoded_and_decoded(format) : NULL;
        }
        const bool constant = row >= 82 && row < 85;
        if (!got || constant)
            continue;
        const double error = rms_error(source() + row * COLS, got + row * COLS, COLS);
        if (error > expected * 1.03)
            fail_msg("%s: row %zu errs by %.9g, the reference by %.9g", name, row, error, expected);
        checked++;
    }
    free(got);
    fclose(file);
    assert_true(checked >= 14 * 95);
}

static void searched_scales_take_a_tenth_off_the_error_of_fp4(void **state)
{
    (void)state;
    static const char *const usual[] = {"gaussian", "model", "model_mixed", "one_sided", "pruned", "ranged", "large"};
    const struct phy_quant_format *format = phy_quant_named("vindex_fp4");
    float *got = encoded_and_decoded(format);
    struct listed sets[16];
    const size_t count = listed_errors(format->name, sets, 16);
    unsigned checked = 0;
    for (size_t n = 0; n < count; n++) {
        for (size_t k = 0; k < sizeof usual / sizeof *usual; k++) {
            if (strcmp(sets[n].set, usual[k]) != 0)
                continue;
            const size_t at = sets[n].first_row * COLS;
            const double error = rms_error(source() + at, got + at, sets[n].rows * COLS);
            if (error > sets[n].rmse * 0.9)
                fail_msg("%s: error %.9g, without a search %.9g", sets[n].set, error, sets[n].rmse);
            checked++;
        }
    }
    free(got);
    assert_int_equal(checked, sizeof usual / sizeof *usual);
}

static void rounds_to_f16_e4m3_and_e2m1_to_nearest_even(void **state)
{
    (void)state;
    FILE *file = fopen(PHY_TEST_DATA "/golden/quant/fp_encode.tsv", "r");
    assert_non_null(file);
    char line[256], name[16];
    unsigned checked = 0, input, code;
    assert_non_null(fgets(line, sizeof line, file)); /* names of the columns */
    while (fgets(line, sizeof line, file)) {
        if (sscanf(line, "%15s %x %x", name, &input, &code) != 3)
            continue;
        const float value = phy_float_of_bits(input);
        const bool nan = isnan(value);
        unsigned got = code, other = code;
        if (strcmp(name, "f16") == 0)
            got = nan ? (phy_f16_round(value) & 0x7FFF) > 0x7C00 ? code : 0 : phy_f16_round(value);
        else if (strcmp(name, "e4m3") == 0)
            got = phy_e4m3_round(value), other = nan ? code : (unsigned)e4m3_code(value);
        else if (!nan)
            got = (unsigned)e2m1_code(value);
        if (got != code || other != code)
            fail_msg("%s: %08x becomes %x or %x, not %x", name, input, got, other, code);
        checked++;
    }
    fclose(file);
    assert_int_equal(checked, 466 + 1132 + 180);
}

static void chooses_mxfp4_scales_as_a_logarithm_in_float32_would(void **state)
{
    (void)state;
    FILE *file = fopen(PHY_TEST_DATA "/golden/quant/mxfp4_scale.tsv", "r");
    assert_non_null(file);
    const struct phy_quant_format *format = phy_quant_named("mxfp4");
    char line[64];
    unsigned checked = 0, peak, e;
    while (fgets(line, sizeof line, file)) {
        if (sscanf(line, "%x %u", &peak, &e) != 2)
            continue;
        float x[32] = {0};
        uint8_t block[17];
        x[17] = -phy_float_of_bits(peak);
        format->encode(x, 1, block);
        if (block[0] != e)
            fail_msg("peak %08x has scale %u, not %u", peak, block[0], e);
        checked++;
    }
    fclose(file);
    assert_int_equal(checked, 153);
    /* Where that would be below zero. */
    for (unsigned bits = 1; bits < 0x00FFFFC0; bits += 99991) {
        float x[32] = {phy_float_of_bits(bits)};
        uint8_t block[17] = {1};
        format->encode(x, 1, block);
        assert_int_equal(block[0], 0);
    }
}

static uint32_t random_bits(uint64_t *seed)
{
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*seed >> 32);
}

static float uniform(uint64_t *seed)
{
    return (float)(random_bits(seed) >> 8) * 0x1p-24f - 0.5f;
}

/* Weights of every kind that an encoder has a special case for. */
enum kind {
    NORMAL,
    ZERO,
    CONSTANT,
    NEGATIVE_CONSTANT,
    OUTLIER,
    SUBNORMAL,
    TINY,
    HUGE_VALUES,
    LARGEST,
    ANY_BITS,
    ABOVE_ZERO,
    BELOW_ZERO,
    MOSTLY_ZERO,
    MIXED_SCALES,
    TIES,
    KINDS
};

static float value_of(enum kind kind, size_t i, uint64_t *seed)
{
    const float u = uniform(seed) + uniform(seed) + uniform(seed);
    switch (kind) {
    case NORMAL:
        return 0.02f * u;
    case ZERO:
        return i % 3 ? 0.0f : -0.0f;
    case CONSTANT:
        return 0.3f;
    case NEGATIVE_CONSTANT:
        return -1.7e-3f;
    case OUTLIER:
        return i % 97 == 5 ? 3 : 0.01f * u;
    case SUBNORMAL:
        return phy_float_of_bits(random_bits(seed) & 0x807FFFFF);
    case TINY:
        return 1e-7f * u;
    case HUGE_VALUES:
        return 1e30f * u;
    case LARGEST:
        return u < 0 ? -3.4028234e38f : 3.4028234e38f;
    case ANY_BITS: {
        const uint32_t bits = random_bits(seed);
        return phy_float_of_bits((bits & 0x7F800000) == 0x7F800000 ? bits ^ 0x40000000 : bits);
    }
    case ABOVE_ZERO:
        return 1 + 0.01f * u;
    case BELOW_ZERO:
        return -5 + u;
    case MOSTLY_ZERO:
        return i % 50 ? 0 : u;
    case MIXED_SCALES:
        return ldexpf(u, (int)(i / 16 * 7 % 29) - 14);
    case TIES:
        return (float)(int)(random_bits(seed) % 31) * 0.25f - 3.75f;
    default:
        fail();
        return 0;
    }
}

static void every_form_writes_the_same_bytes(void **state)
{
    (void)state;
    /* Block counts around what fills 8 and 16 lanes, and one that runs through several units. */
    static const size_t counts[] = {1, 2, 8, 9, 16, 17, 37};
    struct encoder all[MOST_ENCODERS];
    const size_t count = encoders(all);
    uint64_t seed = 20261122;
    unsigned compared = 0;
    for (size_t n = 0; n < sizeof counts / sizeof *counts; n++) {
        for (int kind = 0; kind < KINDS; kind++) {
            const struct encoder *reference = NULL;
            uint8_t *expected = NULL;
            struct guarded x = {0}, out = {0};
            for (size_t i = 0; i < count; i++) {
                const struct phy_quant_format *f = all[i].format;
                const size_t bytes = counts[n] * f->bytes, elements = counts[n] * f->elements;
                if (!reference || reference->format != f) {
                    free(expected);
                    if (reference) {
                        guarded_destroy(&x);
                        guarded_destroy(&out);
                    }
                    x = guarded_create(elements * sizeof(float), kind % 2);
                    out = guarded_create(bytes, kind % 2);
                    for (size_t k = 0; k < elements; k++)
                        ((float *)x.data)[k] = value_of((enum kind)kind, k, &seed);
                    reference = &all[i];
                    expected = malloc(bytes);
                    reference->encode(x.data, counts[n], expected);
                }
                memset(out.data, 0xA5, bytes);
                all[i].encode(x.data, counts[n], out.data);
                for (size_t at = 0; at < bytes; at++) {
                    const uint8_t got = ((uint8_t *)out.data)[at];
                    if (got != expected[at])
                        fail_msg("%s %s, %zu blocks of kind %d: byte %zu of block %zu is %02x, not %02x as of %s",
                                 f->name, all[i].form, counts[n], kind, at % f->bytes, at / f->bytes, got, expected[at],
                                 reference->form);
                }
                compared += reference != &all[i];
            }
            free(expected);
            guarded_destroy(&x);
            guarded_destroy(&out);
        }
    }
    print_message("%u comparisons of %zu encoders\n", compared, count);
    assert_true(compared > 0 || count == phy_quant_format_count);
}

static void blocks_of_finite_weights_decode_to_finite_values(void **state)
{
    (void)state;
    for (size_t i = 0; i < phy_quant_format_count; i++) {
        const struct phy_quant_format *f = &phy_quant_formats[i];
        if (!f->encode || f->elements == 1)
            continue;
        for (int kind = 0; kind < KINDS; kind++) {
            uint64_t seed = 7;
            float x[256], decoded[256];
            uint8_t block[300];
            for (size_t k = 0; k < f->elements; k++)
                x[k] = value_of((enum kind)kind, k, &seed);
            f->encode(x, 1, block);
            f->decode(block, 1, decoded);
            for (size_t k = 0; k < f->elements; k++) {
                if (!isfinite(decoded[k]))
                    fail_msg("%s, kind %d: element %zu, %g, decodes to %g", f->name, kind, k, (double)x[k],
                             (double)decoded[k]);
            }
        }
    }
}

static void rows_that_end_within_a_block_are_padded_with_zeros(void **state)
{
    (void)state;
    static const size_t widths[] = {1, 31, 32, 255, 256, 576, 640};
    uint64_t seed = 3;
    for (int type = 0; type < PHY_WEIGHT_TYPE_COUNT; type++) {
        const struct phy_quant_format *format = phy_weight_format((enum phy_weight_type)type);
        for (size_t n = 0; n < sizeof widths / sizeof *widths; n++) {
            const size_t cols = widths[n], blocks = (cols + format->elements - 1) / format->elements;
            size_t bytes;
            assert_true(phy_weight_row_bytes((enum phy_weight_type)type, cols, &bytes));
            assert_int_equal(bytes, blocks * format->bytes);
            float padded[768] = {0};
            uint8_t expected[4 * 768];
            struct guarded x = guarded_create(cols * sizeof(float), true), out = guarded_create(bytes, true);
            for (size_t k = 0; k < cols; k++)
                padded[k] = value_of(NORMAL, k, &seed);
            memcpy(x.data, padded, cols * sizeof(float));
            format->encode(padded, blocks, expected);
            assert_true(phy_weight_encode_row((enum phy_weight_type)type, x.data, cols, out.data));
            if (memcmp(out.data, expected, bytes) != 0)
                fail_msg("%s: a row of %zu differs from the padded one", format->name, cols);
            guarded_destroy(&x);
            guarded_destroy(&out);
        }
    }
}

static void refuses_weights_that_are_not_finite_or_would_not_be(void **state)
{
    (void)state;
    static const float never[] = {INFINITY, -INFINITY, NAN};
    float x[640];
    uint8_t out[4 * 640], untouched[4 * 640];
    for (size_t i = 0; i < 640; i++)
        x[i] = 0.5f;
    memset(untouched, 0x5A, sizeof untouched);
    for (int type = 0; type < PHY_WEIGHT_TYPE_COUNT; type++) {
        for (size_t n = 0; n < 3; n++) {
            for (size_t at = 0; at < 640; at += 213) {
                memset(out, 0x5A, sizeof out);
                x[at] = never[n];
                assert_false(phy_weight_encode_row((enum phy_weight_type)type, x, 640, out));
                assert_memory_equal(out, untouched, sizeof out);
                x[at] = 0.5f;
            }
        }
        assert_true(phy_weight_encode_row((enum phy_weight_type)type, x, 640, out));
    }
    x[639] = -65520;
    assert_false(phy_weight_encode_row(PHY_WEIGHT_F16, x, 640, out));
    x[639] = -65519.996f;
    assert_true(phy_weight_encode_row(PHY_WEIGHT_F16, x, 640, out));
    assert_int_equal(phy_load_u16(out + 2 * 639), 0xFBFF);
    x[0] = phy_float_of_bits(0x7F7F8000);
    assert_false(phy_weight_encode_row(PHY_WEIGHT_BF16, x, 640, out));
    x[0] = phy_float_of_bits(0x7F7F7FFF);
    assert_true(phy_weight_encode_row(PHY_WEIGHT_BF16, x, 640, out));
    assert_int_equal(phy_load_u16(out), 0x7F7F);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(writes_the_goldens_bytes),
        cmocka_unit_test(writes_the_same_bytes_wherever_it_was_built),
        cmocka_unit_test(errs_no_more_than_the_reference_on_every_judged_row_set),
        cmocka_unit_test(errs_on_no_row_much_more_than_the_reference),
        cmocka_unit_test(searched_scales_take_a_tenth_off_the_error_of_fp4),
        cmocka_unit_test(rounds_to_f16_e4m3_and_e2m1_to_nearest_even),
        cmocka_unit_test(chooses_mxfp4_scales_as_a_logarithm_in_float32_would),
        cmocka_unit_test(every_form_writes_the_same_bytes),
        cmocka_unit_test(blocks_of_finite_weights_decode_to_finite_values),
        cmocka_unit_test(rows_that_end_within_a_block_are_padded_with_zeros),
        cmocka_unit_test(refuses_weights_that_are_not_finite_or_would_not_be),
    };
    return cmocka_run_group_tests_name("quant encoders", tests, NULL, NULL);
}
