/* SPDX-License-Identifier: Apache-2.0 */
/* Every form of the ranking against "ref", byte for byte, in buffers with guard pages. PHY_SEED sets another seed.
 * Argument: none for the forms of the CPU; "vulkan" for each device of the loader's drivers, "hardware" for those that
 * are not CPUs, with "staged" for small pieces through staging memory. Exit code 77 when there is none. */
#include "support/test.h"

#include <math.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "kernels/rank_rows_forms.h"
#include "physarium/device.h"
#include "support/guarded.h"
#include "vk/vk_backend.h"

#if defined(__SANITIZE_ADDRESS__)
/* Drivers stay loaded, so that the leak checker can tell what they leak (tests/support/lsan.supp) from what we do. */
__attribute__((visibility("default"))) int dlclose(void *handle)
{
    (void)handle;
    return 0;
}
#endif

/* The forms under test, "ref" first: the CPU's, or a device's. */
static const struct phy_rank_variant *forms = phy_rank_variants;
static struct phy_backend *device;
static struct log_record logged;

static void rank_on_device(const struct phy_rank_rows *rows, const struct phy_rank_params *params)
{
    if (phy_backend_rank(device, 0, params, rows))
        fail_msg("%s: %s", device->name, logged.error);
}

static const struct phy_rank_variant device_forms[] = {
    {.name = "ref", .run = phy_rank_rows_ref}, {.name = "device", .run = rank_on_device}, {.name = NULL}};

enum pattern { GAUSSIAN, ZEROS, FEW_VALUES, EXTREMES, SUBNORMALS, DEAD_LINES, PATTERNS };
static const char *const pattern_names[] = {"gaussian", "zeros", "few values", "extremes", "subnormals", "dead lines"};
static const char *const type_names[] = {"bf16", "f16", "f32"};

static uint64_t seed;

static uint32_t random_bits(void)
{
    seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    uint64_t h = (seed ^ seed >> 33) * UINT64_C(0xFF51AFD7ED558CCD);
    return (uint32_t)(h >> 32);
}

static uint32_t random_below(uint32_t limit)
{
    return (uint32_t)((uint64_t)random_bits() * limit >> 32);
}

struct rank_case {
    uint64_t seed;
    size_t rows, cols;
    enum phy_float_type type;
    enum pattern pattern;
    bool factor, apply, at_end;
    struct phy_rank_params params;
};

/* binary32 bits of one weight, cut to the type's code. */
static uint32_t draw_code(const struct rank_case *c, size_t row, size_t col)
{
    uint32_t word = random_bits(), sign = word & 0x80000000u, mantissa = random_bits() & 0x007FFFFFu;
    uint32_t bits = sign | (112 + random_below(14)) << 23 | mantissa;
    if (c->pattern == ZEROS && random_below(3))
        bits = sign;
    if (c->pattern == FEW_VALUES) /* ties, exact in every type */
        bits = sign | (118 + random_below(3)) << 23 | (word & 0x00600000u);
    if (c->pattern == EXTREMES)
        bits = sign | word % 191 << 23 | mantissa;
    if (c->pattern == SUBNORMALS && random_below(4))
        bits = sign | mantissa;
    if (c->pattern == DEAD_LINES && (row % 3 == 1 || col % 5 == 2))
        bits = sign;
    if (c->type == PHY_FLOAT_F32)
        return bits;
    if (c->type == PHY_FLOAT_BF16)
        return bits >> 16;
    if (c->pattern == EXTREMES)
        return sign >> 16 | (word & 0xFFFFu) % 0x7C00u;
    if (c->pattern == SUBNORMALS && random_below(4))
        return sign >> 16 | (word & 0x3FFu);
    uint32_t magnitude = bits & 0x7FFFFFFFu;
    return sign >> 16 | (magnitude < 0x38800000u ? 0 : (magnitude - 0x38000000u) >> 13);
}

struct run {
    struct guarded codes, factor, inverse, scratch, results;
};

static struct run run_create(const struct rank_case *c)
{
    return (struct run){.codes = guarded_create(c->rows * c->cols * phy_float_bytes(c->type), c->at_end),
                        .factor = guarded_create(c->cols * sizeof(float), c->at_end),
                        .inverse = guarded_create(c->cols * sizeof(float), c->at_end),
                        .scratch = guarded_create(PHY_RANK_SCRATCH_WORDS * c->cols * sizeof(uint32_t), c->at_end),
                        .results = guarded_create(c->rows * sizeof(struct phy_flow_tile_result), c->at_end)};
}

static void run_destroy(struct run *run)
{
    guarded_destroy(&run->codes);
    guarded_destroy(&run->factor);
    guarded_destroy(&run->inverse);
    guarded_destroy(&run->scratch);
    guarded_destroy(&run->results);
}

static void run_form(const struct phy_rank_variant *variant, const struct rank_case *c, struct run *run)
{
    struct phy_rank_rows rows = {.codes = run->codes.data,
                                 .type = c->type,
                                 .rows = c->rows,
                                 .cols = c->cols,
                                 .column_factor = c->factor ? run->factor.data : NULL,
                                 .column_inverse = run->inverse.data,
                                 .apply = c->apply,
                                 .scratch = run->scratch.data,
                                 .results = run->results.data};
    variant->run(&rows, &c->params);
}

static void fail_case(const struct rank_case *c, const struct phy_rank_variant *variant, const char *what, size_t row)
{
    fail_msg("form %s: %s differs at row %zu\n  seed %llu, %zux%zu, %s, %s, score %d, kill %llu, %u of %u, factor %d",
             variant->name, what, row, (unsigned long long)c->seed, c->rows, c->cols, type_names[c->type],
             pattern_names[c->pattern], c->params.score, (unsigned long long)c->params.kill, c->params.keep,
             c->params.group, c->factor);
}

static void fill(const struct rank_case *c, struct run *run)
{
    uint64_t *bins = calloc(c->cols * PHY_RANK_BINS, sizeof *bins);
    float *factor = run->factor.data;
    seed = c->seed;
    for (size_t i = 0; i < c->rows * c->cols; i++) {
        uint32_t code = draw_code(c, i / c->cols, i % c->cols);
        size_t bytes = phy_float_bytes(c->type);
        memcpy((char *)run->codes.data + i * bytes, &code, bytes);
    }
    for (size_t j = 0; j < c->cols; j++)
        factor[j] =
            random_below(9) ? phy_float_of_bits((120 + random_below(7)) << 23 | (random_bits() & 0x7FFFFF)) : 0.0f;
    phy_rank_add_columns(bins, run->codes.data, c->type, c->rows, c->cols);
    phy_rank_fold_columns(bins, c->cols);
    phy_rank_invert_columns(bins, c->cols, run->inverse.data);
    free(bins);
}

static void check_case(const struct rank_case *c)
{
    struct phy_cpu_features have = phy_cpu_detect();
    struct run first = run_create(c), expected = run_create(c), got = run_create(c);
    const size_t row_bytes = c->cols * phy_float_bytes(c->type), bytes = c->rows * row_bytes;
    fill(c, &first);
    for (const struct phy_rank_variant *v = forms; v->name; v++) {
        struct run *to = v == forms ? &expected : &got;
        if (!phy_cpu_meets(&have, &v->needs))
            continue;
        memcpy(to->codes.data, first.codes.data, bytes);
        memcpy(to->factor.data, first.factor.data, c->cols * sizeof(float));
        memcpy(to->inverse.data, first.inverse.data, c->cols * sizeof(float));
        memset(to->scratch.data, 0xFF, PHY_RANK_SCRATCH_WORDS * c->cols * sizeof(uint32_t));
        memset(to->results.data, 0xA5, c->rows * sizeof(struct phy_flow_tile_result));
        run_form(v, c, to);
        const struct phy_flow_tile_result *want = expected.results.data, *is = to->results.data;
        for (size_t i = 0; i < c->rows; i++) {
            bool refused = want[i].peak_bits >= PHY_FLOW_FOOD_LIMIT_BITS; /* by how much, forms may differ */
            if (want[i].killed != is[i].killed || want[i].zero_before != is[i].zero_before ||
                (!refused && want[i].peak_bits != is[i].peak_bits) ||
                refused != (is[i].peak_bits >= PHY_FLOW_FOOD_LIMIT_BITS))
                fail_case(c, v, "result", i);
            if (memcmp((char *)expected.codes.data + i * row_bytes, (char *)to->codes.data + i * row_bytes, row_bytes))
                fail_case(c, v, "a code", i);
        }
        if (!c->apply && memcmp(first.codes.data, to->codes.data, bytes) != 0)
            fail_case(c, v, "a code that was not to be written", 0);
    }
    run_destroy(&first);
    run_destroy(&expected);
    run_destroy(&got);
}

static struct rank_case random_case(uint64_t case_seed, size_t rows, size_t cols)
{
    /* The last one is not a power of two, which the shader does not do. */
    static const uint32_t groups[][2] = {{0, 0}, {0, 0}, {2, 4}, {4, 8}, {5, 32}, {1, 3}};
    seed = case_seed;
    uint32_t g = random_below(device ? 5 : 6);
    struct rank_case c = {.seed = case_seed,
                          .rows = rows,
                          .cols = cols,
                          .type = (enum phy_float_type)random_below(3),
                          .pattern = (enum pattern)random_below(PATTERNS),
                          .apply = random_below(5) != 0,
                          .at_end = random_below(2),
                          .params = {.score = (enum phy_rank_score)random_below(3),
                                     .keep = groups[g][0],
                                     .group = groups[g][1],
                                     .kill = random_below((uint32_t)cols + 1)}};
    c.factor = c.params.score == PHY_RANK_WANDA || (c.params.score == PHY_RANK_RIA && random_below(2));
    return c;
}

static uint64_t first_seed(void)
{
    const char *text = getenv("PHY_SEED");
    return text ? strtoull(text, NULL, 10) : 20260101;
}

static void agrees_on_every_width_type_and_pattern(void **state)
{
    (void)state;
    for (uint32_t n = 1; n <= 140; n += device ? 9 : 1) {
        for (uint32_t variation = 0; variation < 12; variation++) {
            struct rank_case c = random_case(first_seed() + n * 100 + variation, 1 + n % 4, n);
            c.type = (enum phy_float_type)(variation % 3);
            check_case(&c);
        }
    }
}

static void agrees_on_wide_rows(void **state)
{
    (void)state;
    static const size_t widths[] = {255, 256, 257, 576, 1536, 4097, 11008};
    for (size_t w = 0; w < sizeof widths / sizeof *widths; w++) {
        for (uint32_t variation = 0; variation < (device ? 6 : 18); variation++) {
            struct rank_case c = random_case(first_seed() + 50000 + w * 100 + variation, 3, widths[w]);
            c.pattern = (enum pattern)(variation % PATTERNS);
            check_case(&c);
        }
    }
}

/* Not finite, or too large once scaled: in one row of three, the others are done. */
static void refuses_what_the_flow_refuses(void **state)
{
    (void)state;
    static const uint32_t bad[] = {0x7F800000u, 0xFF800000u, 0x7FC00001u, 0xFFFFFFFFu, 0x5F800000u};
    struct phy_cpu_features have = phy_cpu_detect();
    for (const struct phy_rank_variant *v = forms; v->name; v++) {
        for (size_t i = 0; i < sizeof bad / sizeof *bad && phy_cpu_meets(&have, &v->needs); i++) {
            uint32_t codes[3][37], scratch[2 * 37];
            float ones[37];
            struct phy_flow_tile_result results[3];
            for (size_t j = 0; j < 3 * 37; j++)
                codes[j / 37][j % 37] = 0x3F800000u + (uint32_t)j;
            for (size_t j = 0; j < 37; j++)
                ones[j] = 1.0f;
            codes[1][5 + i] = bad[i];
            struct phy_rank_rows rows = {codes, PHY_FLOAT_F32, 3, 37, ones, ones, true, scratch, results};
            v->run(&rows, &(struct phy_rank_params){.score = (enum phy_rank_score)(i % 3), .kill = 18});
            assert_int_equal(results[0].killed, 18);
            assert_int_equal(results[2].killed, 18);
            assert_true(results[1].peak_bits >= PHY_FLOW_FOOD_LIMIT_BITS);
            for (size_t j = 0; j < 37; j++)
                assert_int_equal(codes[1][j], j == 5 + i ? bad[i] : 0x3F800000u + 37 + (uint32_t)j);
        }
    }
}

/* ---- by hand ---- */

/* One row of binary32 weights; returns which were killed, one letter each: x killed, 0 zero before, . kept. */
static const char *rank_by_hand(const float *weights, size_t n, struct phy_rank_params params, const float *factor)
{
    static char out[64];
    float codes[64];
    uint32_t scratch[128];
    uint64_t bins[64 * PHY_RANK_BINS] = {0};
    float inverse[64];
    struct phy_flow_tile_result result;
    struct phy_cpu_features have = phy_cpu_detect();
    phy_rank_add_columns(bins, weights, PHY_FLOAT_F32, 1, n);
    phy_rank_fold_columns(bins, n);
    phy_rank_invert_columns(bins, n, inverse);
    for (const struct phy_rank_variant *v = forms; v->name; v++) {
        char letters[64] = "";
        if (!phy_cpu_meets(&have, &v->needs))
            continue;
        memcpy(codes, weights, n * sizeof *codes);
        struct phy_rank_rows rows = {codes, PHY_FLOAT_F32, 1, n, factor, inverse, true, scratch, &result};
        v->run(&rows, &params);
        uint32_t killed = 0;
        for (size_t j = 0; j < n; j++) {
            bool same = memcmp(&codes[j], &weights[j], sizeof *codes) == 0;
            letters[j] = weights[j] == 0 ? '0' : same ? '.' : 'x';
            killed += letters[j] == 'x';
            assert_true(same || (phy_bits_of_float(codes[j]) == 0 && weights[j] != 0)); /* a zero keeps its sign */
        }
        assert_int_equal(result.killed, killed);
        if (v != forms)
            assert_string_equal(letters, out);
        strcpy(out, letters);
    }
    return out;
}

static void of_equal_scores_the_lower_column_goes_first(void **state)
{
    (void)state;
    static const float w[] = {2, -1, 1, 3, -1, 1, 0.5f};
    assert_string_equal(rank_by_hand(w, 7, (struct phy_rank_params){.kill = 1}, NULL), "......x");
    assert_string_equal(rank_by_hand(w, 7, (struct phy_rank_params){.kill = 3}, NULL), ".xx...x");
    assert_string_equal(rank_by_hand(w, 7, (struct phy_rank_params){.kill = 4}, NULL), ".xx.x.x");
    assert_string_equal(rank_by_hand(w, 7, (struct phy_rank_params){.kill = 7}, NULL), "xxxxxxx");
    assert_string_equal(rank_by_hand(w, 7, (struct phy_rank_params){.kill = 0}, NULL), ".......");
}

static void zeros_of_either_sign_go_first_and_are_not_killed(void **state)
{
    (void)state;
    static const float w[] = {1, -0.0f, 2, 0.0f, -3};
    assert_string_equal(rank_by_hand(w, 5, (struct phy_rank_params){.kill = 2}, NULL), ".0.0.");
    assert_string_equal(rank_by_hand(w, 5, (struct phy_rank_params){.kill = 3}, NULL), "x0.0.");
}

/* A subnormal scores as a zero but is a weight: killed, and by its column. */
static void a_subnormal_counts_as_zero_in_score_only(void **state)
{
    (void)state;
    static const float w[] = {1, 0.0f, 1e-40f, -1e-41f, 1e-30f};
    assert_string_equal(rank_by_hand(w, 5, (struct phy_rank_params){.kill = 2}, NULL), ".0x..");
    assert_string_equal(rank_by_hand(w, 5, (struct phy_rank_params){.kill = 3}, NULL), ".0xx.");
}

static void a_pattern_keeps_so_many_of_each_aligned_group(void **state)
{
    (void)state;
    static const float w[] = {4, 3, 2, 1, 1, 1, 1, 1, 0, 5, 6, 7, 9, 8};
    /* Of a last group of two, 2:4 keeps one; of six, 4:8 keeps three. */
    assert_string_equal(rank_by_hand(w, 14, (struct phy_rank_params){.keep = 2, .group = 4}, NULL), "..xxxx..0x...x");
    assert_string_equal(rank_by_hand(w, 14, (struct phy_rank_params){.keep = 4, .group = 8}, NULL), "...xxxx.0xx...");
    assert_string_equal(rank_by_hand(w, 1, (struct phy_rank_params){.keep = 2, .group = 4}, NULL), ".");
    assert_string_equal(rank_by_hand(w, 3, (struct phy_rank_params){.keep = 2, .group = 4}, NULL), "..x");
}

static void scores_weigh_columns_as_their_names_say(void **state)
{
    (void)state;
    static const float w[] = {4, 3, 2, 1}, scale[] = {0.1f, 1, 1, 8};
    assert_string_equal(rank_by_hand(w, 4, (struct phy_rank_params){.score = PHY_RANK_WANDA, .kill = 2}, scale),
                        "x.x.");
    /* In a single row each weight is all of its column: the row's share decides. */
    assert_string_equal(rank_by_hand(w, 4, (struct phy_rank_params){.score = PHY_RANK_RIA, .kill = 2}, NULL), "..xx");
}

static void column_sums_are_exact_whatever_the_order(void **state)
{
    (void)state;
    enum { ROWS = 300, COLS = 7 };
    static float a[ROWS][COLS], b[ROWS][COLS];
    uint64_t one[COLS * PHY_RANK_BINS] = {0}, two[COLS * PHY_RANK_BINS] = {0};
    seed = first_seed();
    for (size_t i = 0; i < ROWS; i++) {
        for (size_t j = 0; j < COLS; j++)
            a[i][j] =
                phy_float_of_bits((random_bits() & 0x80000000u) | random_below(191) << 23 | random_below(1 << 23));
        memcpy(b[ROWS - 1 - i], a[i], sizeof a[i]);
    }
    phy_rank_add_columns(one, a, PHY_FLOAT_F32, ROWS, COLS);
    phy_rank_add_columns(two, b, PHY_FLOAT_F32, ROWS / 3, COLS);
    phy_rank_fold_columns(two, COLS);
    phy_rank_add_columns(two, b[ROWS / 3], PHY_FLOAT_F32, ROWS - ROWS / 3, COLS);
    phy_rank_fold_columns(one, COLS);
    phy_rank_fold_columns(two, COLS);
    assert_memory_equal(one, two, sizeof one);
    float inverse[COLS];
    phy_rank_invert_columns(one, COLS, inverse);
    for (size_t j = 0; j < COLS; j++) {
        double sum = 0;
        for (size_t i = 0; i < ROWS; i++)
            sum += fabs((double)a[i][j]);
        assert_true(fabs((double)inverse[j] * sum - 1) < 2e-5);
    }
}

static void the_validation_layer_was_silent(void **state)
{
    (void)state;
    if (!device || !phy_vk_validation_asked())
        skip();
    if (phy_vk_validation_messages())
        fail_msg("%u messages; the last error: %s", phy_vk_validation_messages(), logged.error);
}

static int run_suite(const char *name)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(agrees_on_every_width_type_and_pattern),
        cmocka_unit_test(agrees_on_wide_rows),
        cmocka_unit_test(refuses_what_the_flow_refuses),
        cmocka_unit_test(of_equal_scores_the_lower_column_goes_first),
        cmocka_unit_test(zeros_of_either_sign_go_first_and_are_not_killed),
        cmocka_unit_test(a_subnormal_counts_as_zero_in_score_only),
        cmocka_unit_test(a_pattern_keeps_so_many_of_each_aligned_group),
        cmocka_unit_test(scores_weigh_columns_as_their_names_say),
        cmocka_unit_test(column_sums_are_exact_whatever_the_order),
        cmocka_unit_test(the_validation_layer_was_silent),
    };
    return cmocka_run_group_tests_name(name, tests, NULL, NULL);
}

static int run_devices(bool hardware, bool staged)
{
    struct phy_host host = recording_host(&logged);
    struct phy_device_info *devices;
    size_t count, ran = 0;
    char note[PHY_VK_NOTE_BYTES];
    int failures = 0;
    if (phy_vk_validation_asked() && !phy_vk_validation_available()) {
        printf("SKIPPED: the Vulkan validation layer is not installed\n");
        return 77;
    }
    if (phy_vk_list(&devices, &count, note, &host))
        return 1;
    for (uint32_t i = 0; i < count; i++) {
        const struct phy_vk_options options = {.staging = staged, .max_piece_weights = staged ? 5000 : 0};
        if (hardware && strcmp(devices[i].type, "cpu") == 0)
            continue;
        if (phy_vk_backend_create(&device, i, &options, NULL, &host)) {
            printf("%s: %s\n", devices[i].name, logged.error);
            failures++;
            continue;
        }
        forms = device_forms;
        failures += run_suite(device->name);
        phy_backend_destroy(&device);
        ran++;
    }
    phy_free(devices);
    if (!ran && !failures)
        printf("SKIPPED: %s\n", count ? "no Vulkan device that is not a CPU" : note);
    return failures ? 1 : ran ? 0 : 77;
}

int main(int argc, char **argv)
{
    if (argc < 2)
        return run_suite("cpu");
    return run_devices(strcmp(argv[1], "hardware") == 0, argc > 2);
}
