/* SPDX-License-Identifier: Apache-2.0 */
/* Every form of the tile flow against "ref", bit for bit, in buffers with guard pages. PHY_SEED sets another seed. */
#include "support/test.h"

#include <fenv.h>
#include <math.h>
#include <stdlib.h>

#include "kernels/flow_tile.h"
#include "support/guarded.h"

enum { MAX_CELLS = PHY_FLOW_MAX_BLOCK * PHY_FLOW_MAX_BLOCK };

enum pattern {
    GAUSSIAN,
    ZEROS,
    NEGATIVE_ZEROS,
    ALL_EQUAL,
    EXTREMES,   /* every exponent below 2^64 */
    SUBNORMALS, /* most codes subnormal, a few normal */
    ALL_SUBNORMAL,
    HEAVY_TAIL,
    DEAD_LINES, /* rows and columns of zeros */
    ONE_HUGE,   /* one weight beside which the others vanish */
    PATTERNS,
};

static const char *const pattern_names[] = {
    "gaussian",   "zeros",         "negative zeros", "all equal",  "extremes",
    "subnormals", "all subnormal", "heavy tail",     "dead lines", "one huge",
};
static const char *const type_names[] = {"bf16", "f16", "f32"};

static uint64_t seed = 1;

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

static float of_bits(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static uint32_t bits_of(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static float gaussian(void)
{
    double u = (random_bits() + 1.0) / 4294967296.0, v = random_bits() / 4294967296.0;
    return (float)(0.02 * sqrt(-2 * log(u)) * cos(6.283185307179586 * v));
}

/* A case: a tile in a larger matrix, and its parameters. */
struct flow_case {
    uint64_t seed; /* of the codes */
    uint32_t rows, cols;
    size_t row_stride;
    enum phy_float_type type;
    enum pattern pattern;
    bool column_scaled, apply, at_end;
    struct phy_flow_params params;
};

/* Code of one weight, in the low bits. */
static uint32_t draw_code(const struct flow_case *c, uint32_t row, uint32_t col, uint32_t special_row)
{
    uint32_t word = random_bits(), sign = word & 0x80000000u;
    uint32_t smallest = c->type == PHY_FLOAT_F16 ? 0x33800000u : 0x00010000u; /* 2^-24: the smallest binary16 */
    float w = gaussian();
    uint32_t bits = bits_of(w);
    switch (c->pattern) {
    case ZEROS:
        bits = 0;
        break;
    case NEGATIVE_ZEROS:
        bits = random_below(3) ? 0x80000000u : bits;
        break;
    case ALL_EQUAL:
        bits = bits_of(0.01171875f) | sign;
        break;
    case EXTREMES:
        bits = sign | (word % 191 << 23) | (random_bits() & 0x007FFFFFu);
        break;
    case SUBNORMALS:
        bits = random_below(8) ? sign | (word & 0x007FFFFFu) : sign | (1 + word % 8) << 23;
        break;
    case ALL_SUBNORMAL:
        bits = sign | (word & 0x007FFFFFu);
        break;
    case HEAVY_TAIL:
        bits = bits_of(w * w * w * 3e5f);
        break;
    case DEAD_LINES:
        bits = row % 5 == 2 || col % 7 == 3 ? 0 : bits;
        break;
    case ONE_HUGE:
        bits = row == special_row && col == c->cols / 2 ? 0x5F000000u : bits;
        break;
    default:
        break;
    }
    if (c->type == PHY_FLOAT_F32)
        return bits;
    if (c->type == PHY_FLOAT_BF16)
        return bits >> 16;
    if (c->pattern == EXTREMES)
        return (word & 0xFFFFu) % 0x7C00u | (sign >> 16);
    if (c->pattern == SUBNORMALS || c->pattern == ALL_SUBNORMAL)
        return (word & 0x03FFu) | (sign >> 16) | (c->pattern == SUBNORMALS && word % 9 == 0 ? 0x0800u : 0);
    uint32_t magnitude = bits & 0x7FFFFFFFu; /* of the rest all are normal or zero once in range */
    magnitude = magnitude < 0x38800000u ? (magnitude < smallest ? 0 : 0x38800000u) : magnitude;
    magnitude = magnitude > 0x477FE000u ? 0x477FE000u : magnitude;
    return (bits >> 16 & 0x8000u) | (magnitude ? (magnitude - 0x38000000u) >> 13 : 0);
}

static void fill_codes(const struct flow_case *c, void *codes, size_t elements)
{
    uint32_t special_row = random_below(c->rows);
    for (size_t i = 0; i < elements; i++) {
        uint32_t code = draw_code(c, (uint32_t)(i / c->row_stride), (uint32_t)(i % c->row_stride), special_row);
        uint16_t half = (uint16_t)code;
        if (c->type == PHY_FLOAT_F32)
            memcpy((char *)codes + 4 * i, &code, 4);
        else
            memcpy((char *)codes + 2 * i, &half, 2);
    }
}

/* Mostly near 1; some zero, tiny, huge or subnormal. Not so huge that an extreme weight passes 2^64. */
static void fill_column_scale(const struct flow_case *c, float *scale)
{
    for (uint32_t i = 0; i < c->cols; i++) {
        uint32_t exponent = 117 + random_below(20);
        switch (random_below(12)) {
        case 0:
            exponent = 0;
            break;
        case 1:
            exponent = random_below(c->pattern == EXTREMES || c->pattern == ONE_HUGE ? 120 : 160);
            break;
        default:
            break;
        }
        scale[i] = random_below(16) ? of_bits(exponent << 23 | (random_bits() & 0x007FFFFFu)) : 0.0f;
    }
    if (c->pattern == EXTREMES || c->pattern == ONE_HUGE) {
        for (uint32_t i = 0; i < c->cols; i++)
            scale[i] = scale[i] < 1.0f ? scale[i] : 1.0f;
    }
}

/* What a form is given and what it makes of it. */
struct run {
    struct guarded codes, column_scale, conductance, scratch;
    struct phy_flow_tile_result result;
};

static size_t code_elements(const struct flow_case *c)
{
    return (size_t)(c->rows - 1) * c->row_stride + c->cols;
}

static struct run run_create(const struct flow_case *c)
{
    return (struct run){
        .codes = guarded_create(code_elements(c) * phy_float_bytes(c->type), c->at_end),
        .column_scale = guarded_create(c->cols * sizeof(float), c->at_end),
        .conductance = guarded_create((size_t)c->rows * c->cols * sizeof(float), c->at_end),
        .scratch = guarded_create(PHY_FLOW_SCRATCH_BYTES, c->at_end),
    };
}

static void run_destroy(struct run *run)
{
    guarded_destroy(&run->codes);
    guarded_destroy(&run->column_scale);
    guarded_destroy(&run->conductance);
    guarded_destroy(&run->scratch);
}

static void run_form(const struct phy_flow_variant *variant, const struct flow_case *c, struct run *run)
{
    struct phy_flow_tile tile = {
        .codes = run->codes.data,
        .row_stride = c->row_stride,
        .type = c->type,
        .rows = c->rows,
        .cols = c->cols,
        .column_scale = c->column_scaled ? run->column_scale.data : NULL,
        .conductance = run->conductance.data,
        .apply = c->apply,
    };
    variant->run(&tile, &c->params, run->scratch.data, &run->result);
}

static void fail_case(const struct flow_case *c, const struct phy_flow_variant *variant, const char *what)
{
    fail_msg("form %s: %s\n  seed %llu, %ux%u, stride %zu, %s, %s, column scale %d, apply %d, at end %d\n"
             "  gain %g, beta %u, iterations %u, block %u",
             variant->name, what, (unsigned long long)c->seed, c->rows, c->cols, c->row_stride, type_names[c->type],
             pattern_names[c->pattern], c->column_scaled, c->apply, c->at_end, (double)c->params.gain, c->params.beta,
             c->params.iterations, c->params.block);
}

static void compare_conductance(const struct flow_case *c, const struct phy_flow_variant *variant,
                                const float *expected, const float *got)
{
    char text[256];
    uint32_t differ = 0, worst = 0;
    double worst_error = -1;
    for (uint32_t i = 0; i < c->rows * c->cols; i++) {
        if (bits_of(expected[i]) == bits_of(got[i]))
            continue;
        double error = fabs((double)expected[i] - (double)got[i]);
        differ++;
        if (!(error <= worst_error)) { /* a NaN is the worst */
            worst_error = error;
            worst = i;
        }
    }
    if (!differ)
        return;
    snprintf(text, sizeof text,
             "%u conductances differ, the worst at row %u, column %u: expected %.9g (%08x), got %.9g (%08x)", differ,
             worst / c->cols, worst % c->cols, (double)expected[worst], bits_of(expected[worst]), (double)got[worst],
             bits_of(got[worst]));
    fail_case(c, variant, text);
}

static void compare(const struct flow_case *c, const struct phy_flow_variant *variant, const struct run *expected,
                    const struct run *got)
{
    char text[256];
    compare_conductance(c, variant, expected->conductance.data, got->conductance.data);
    if (memcmp(&expected->result, &got->result, sizeof got->result) != 0) {
        snprintf(text, sizeof text, "killed %u, zero before %u, peak %08x; expected %u, %u, %08x", got->result.killed,
                 got->result.zero_before, got->result.peak_bits, expected->result.killed, expected->result.zero_before,
                 expected->result.peak_bits);
        fail_case(c, variant, text);
    }
    size_t bytes = phy_float_bytes(c->type);
    for (size_t i = 0; i < code_elements(c); i++) {
        if (memcmp((char *)expected->codes.data + i * bytes, (char *)got->codes.data + i * bytes, bytes) != 0) {
            snprintf(text, sizeof text, "code at row %zu, column %zu differs", i / c->row_stride, i % c->row_stride);
            fail_case(c, variant, text);
        }
    }
}

/* What "ref" must have done to codes by the contract, without trusting its loops. */
static void check_reference(const struct flow_case *c, const void *before, const struct run *run)
{
    size_t bytes = phy_float_bytes(c->type);
    const float *conductance = run->conductance.data;
    static const char zero[4];
    for (size_t i = 0; i < code_elements(c); i++) {
        size_t row = i / c->row_stride, col = i % c->row_stride;
        const char *was = (const char *)before + i * bytes, *is = (const char *)run->codes.data + i * bytes;
        bool dead = c->apply && col < c->cols && conductance[row * c->cols + col] < 0.5f;
        bool was_zero = (was[bytes - 1] & 0x7F) == 0 && memcmp(was, zero, bytes - 1) == 0;
        if (memcmp(is, dead && !was_zero ? zero : was, bytes) != 0)
            fail_case(c, &phy_flow_variants[0], "a code is neither its old self nor the +0 of a killed weight");
    }
}

static void check_case(const struct flow_case *c)
{
    struct phy_cpu_features have = phy_cpu_detect();
    struct run expected = run_create(c), got = run_create(c);
    static float before[(size_t)PHY_FLOW_MAX_BLOCK * 2 * PHY_FLOW_MAX_BLOCK];
    assert_true(code_elements(c) <= sizeof before / sizeof *before);
    seed = c->seed;
    fill_codes(c, before, code_elements(c));
    fill_column_scale(c, expected.column_scale.data);
    memcpy(got.column_scale.data, expected.column_scale.data, c->cols * sizeof(float));
    size_t bytes = code_elements(c) * phy_float_bytes(c->type);
    memcpy(expected.codes.data, before, bytes);
    run_form(&phy_flow_variants[0], c, &expected);
    if (expected.result.peak_bits >= PHY_FLOW_FOOD_LIMIT_BITS)
        fail_case(c, &phy_flow_variants[0], "the test drew a refused weight");
    check_reference(c, before, &expected);
    for (const struct phy_flow_variant *v = phy_flow_variants + 1; v->name; v++) {
        if (!phy_cpu_meets(&have, &v->needs))
            continue;
        memcpy(got.codes.data, before, bytes);
        memset(got.conductance.data, 0xA5, (size_t)c->rows * c->cols * sizeof(float));
        memset(got.scratch.data, 0xFF, PHY_FLOW_SCRATCH_BYTES); /* NaN: nothing may be read before it is written */
        run_form(v, c, &got);
        compare(c, v, &expected, &got);
    }
    run_destroy(&expected);
    run_destroy(&got);
}

static const float gains[] = {0.0625f, 0.25f, 1.0f, 1.75f, 2.5f, 5.0f, 5.26f, 11.0f, 64.0f};
static const uint32_t blocks[] = {32, 64, 128, 256};

/* Everything about a case but its shape, at random; as many iterations as its size allows in a short test. */
static struct flow_case random_case(uint64_t case_seed, uint32_t rows, uint32_t cols, uint32_t block)
{
    static const uint32_t iterations[] = {1, 2, 3, 5, 8, 17, 30, 59, 60, 61, 100, 150, 200};
    seed = case_seed;
    uint32_t allowed = rows * cols > 16384 ? 5 : rows * cols > 2048 ? 10 : 13;
    struct flow_case c = {
        .seed = case_seed,
        .rows = rows,
        .cols = cols,
        .row_stride = cols + (random_below(2) ? 0 : random_below(40)),
        .type = (enum phy_float_type)random_below(3),
        .pattern = (enum pattern)random_below(PATTERNS),
        .column_scaled = random_below(3) == 0,
        .apply = random_below(5) != 0,
        .at_end = random_below(2),
        .params = {.gain = gains[random_below(sizeof gains / sizeof *gains)],
                   .beta = 1 + random_below(4),
                   .iterations = iterations[random_below(allowed)],
                   .block = block},
    };
    return c;
}

static uint64_t first_seed(uint64_t offset)
{
    const char *text = getenv("PHY_SEED");
    return (text ? strtoull(text, NULL, 10) : 20260101) + offset;
}

static void agrees_on_every_pattern_type_and_power(void **state)
{
    (void)state;
    for (uint32_t pattern = 0; pattern < PATTERNS; pattern++) {
        for (uint32_t type = 0; type < 3; type++) {
            for (uint32_t beta = 1; beta <= 4; beta++) {
                for (uint32_t variation = 0; variation < 4; variation++) {
                    struct flow_case c =
                        random_case(first_seed(pattern * 1000 + type * 100 + beta * 10 + variation), 61, 83, 128);
                    c.pattern = (enum pattern)pattern;
                    c.type = (enum phy_float_type)type;
                    c.params.beta = beta;
                    c.column_scaled = variation % 2;
                    c.params.iterations = variation < 2 ? 30 : 64;
                    check_case(&c);
                }
            }
        }
    }
}

static void agrees_on_every_clipped_width_and_height(void **state)
{
    (void)state;
    for (uint32_t n = 1; n <= 70; n++) {
        struct flow_case wide = random_case(first_seed(20000 + n), 1 + n % 9, n, 128);
        struct flow_case high = random_case(first_seed(21000 + n), n, 1 + n % 19, 128);
        check_case(&wide);
        check_case(&high);
    }
    static const uint32_t shapes[][2] = {
        {1, 1},   {1, 256},  {256, 1},   {7, 3},   {255, 256}, {256, 255}, {255, 255}, {255, 1},
        {1, 255}, {2, 256},  {256, 241}, {241, 5}, {248, 17},  {249, 16},  {128, 97},  {127, 128},
        {31, 32}, {256, 33}, {9, 256},   {3, 250}, {64, 64},   {32, 32},   {256, 256}, {129, 130},
    };
    for (uint32_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        for (uint32_t variation = 0; variation < 6; variation++) {
            struct flow_case c = random_case(first_seed(22000 + i * 10 + variation), shapes[i][0], shapes[i][1], 256);
            c.type = (enum phy_float_type)(variation % 3);
            c.at_end = variation < 3;
            check_case(&c);
        }
    }
}

/* 255 x 257 and 257 x 255 cut into tiles of each size, as a tensor is. */
static void agrees_on_the_tiles_of_a_matrix(void **state)
{
    (void)state;
    for (uint32_t b = 0; b < 4; b++) {
        uint32_t block = blocks[b], rows = b % 2 ? 255 : 257, cols = 512 - rows;
        for (uint32_t r = 0; r < rows; r += block) {
            for (uint32_t col = 0; col < cols; col += block) {
                struct flow_case c =
                    random_case(first_seed(30000 + b * 1000 + r * 4 + col), rows - r < block ? rows - r : block,
                                cols - col < block ? cols - col : block, block);
                c.row_stride = cols;
                check_case(&c);
            }
        }
    }
}

static void agrees_for_up_to_200_iterations(void **state)
{
    (void)state;
    static const uint32_t iterations[] = {58, 59, 60, 61, 62, 75, 100, 126, 127, 128, 150, 151, 180, 200};
    for (uint32_t i = 0; i < sizeof iterations / sizeof *iterations; i++) {
        for (uint32_t beta = 1; beta <= 4; beta++) {
            struct flow_case c = random_case(first_seed(40000 + i * 10 + beta), 37, 50, 64);
            c.params.beta = beta;
            c.params.iterations = iterations[i];
            check_case(&c);
            c.pattern = GAUSSIAN;
            c.params.gain = 1.0f;
            check_case(&c);
        }
    }
}

static void agrees_on_random_cases(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 300; i++) {
        seed = first_seed(50000 + i);
        uint32_t block = blocks[random_below(4)];
        struct flow_case c =
            random_case(first_seed(60000 + i), 1 + random_below(block), 1 + random_below(block), block);
        check_case(&c);
    }
}

/* Writes a code that is refused over one weight; true if the type has such a code for this choice. */
static bool spoil(const struct flow_case *c, void *codes, size_t index, uint32_t choice)
{
    static const uint32_t words[] = {0x7F800000u, 0xFF800000u, 0x7FC00001u, 0xFFA00000u,
                                     0x5F800000u, 0xDF800000u, 0x7F7F0000u};
    static const uint16_t halves[] = {0x7C00u, 0xFC00u, 0x7E01u, 0xFD00u, 0, 0, 0};
    uint16_t half = c->type == PHY_FLOAT_F16 ? halves[choice] : (uint16_t)(words[choice] >> 16);
    if (c->type == PHY_FLOAT_F32)
        memcpy((char *)codes + 4 * index, &words[choice], 4);
    else
        memcpy((char *)codes + 2 * index, &half, 2);
    return half != 0 || c->type == PHY_FLOAT_F32;
}

static void check_refused(const struct phy_flow_variant *variant, const struct flow_case *c, uint32_t choice)
{
    struct run run = run_create(c);
    size_t bytes = code_elements(c) * phy_float_bytes(c->type), cells = (size_t)c->rows * c->cols;
    static char before[MAX_CELLS * 4 * 2];
    seed = c->seed;
    fill_codes(c, before, code_elements(c));
    float *scale = run.column_scale.data;
    for (uint32_t i = 0; i < c->cols; i++)
        scale[i] = 1.0f;
    uint32_t row = random_below(c->rows), col = random_below(c->cols), later = row + 1 < c->rows ? row + 1 : row;
    bool spoilt = spoil(c, before, row * c->row_stride + col, choice);
    if (spoilt) {
        spoil(c, before, later * c->row_stride + col, choice);
        memcpy(run.codes.data, before, bytes);
        memset(run.conductance.data, 0xA5, cells * sizeof(float));
        run_form(variant, c, &run);
        if (run.result.peak_bits < PHY_FLOW_FOOD_LIMIT_BITS || run.result.killed || run.result.zero_before)
            fail_case(c, variant, "a refused weight was let through");
        if (memcmp(run.codes.data, before, bytes) != 0)
            fail_case(c, variant, "codes of a refused tile were written");
        for (size_t i = 0; i < cells * sizeof(float); i++)
            assert_int_equal(((uint8_t *)run.conductance.data)[i], 0xA5);
        struct phy_flow_tile tile = {.codes = before,
                                     .row_stride = c->row_stride,
                                     .type = c->type,
                                     .rows = c->rows,
                                     .cols = c->cols,
                                     .column_scale = c->column_scaled ? scale : NULL};
        uint32_t found_row, found_col;
        assert_true(phy_flow_tile_find_refused(&tile, &found_row, &found_col));
        assert_int_equal(found_row, row);
        assert_int_equal(found_col, col);
    }
    run_destroy(&run);
}

static void leaves_refused_tiles_alone(void **state)
{
    (void)state;
    struct phy_cpu_features have = phy_cpu_detect();
    for (const struct phy_flow_variant *v = phy_flow_variants; v->name; v++) {
        for (uint32_t i = 0; phy_cpu_meets(&have, &v->needs) && i < 7 * 3 * 4; i++) {
            struct flow_case c = random_case(first_seed(70000 + i), 1 + i % 40, 1 + i % 27, 64);
            c.pattern = GAUSSIAN;
            c.type = (enum phy_float_type)(i / 7 % 3);
            c.apply = true;
            check_refused(v, &c, i % 7);
        }
    }
}

static void refuses_a_product_with_the_scale_that_is_too_large(void **state)
{
    (void)state;
    struct phy_cpu_features have = phy_cpu_detect();
    static float conductance[4];
    static _Alignas(64) char scratch[PHY_FLOW_SCRATCH_BYTES];
    for (const struct phy_flow_variant *v = phy_flow_variants; v->name; v++) {
        uint16_t codes[4] = {0x3F80, 0x4000, 0xBF80, 0x3F00}; /* 1 2 / -1 0.5 */
        const float scale[2] = {1.0f, 0x1p63f};
        struct phy_flow_tile tile = {.codes = codes,
                                     .row_stride = 2,
                                     .type = PHY_FLOAT_BF16,
                                     .rows = 2,
                                     .cols = 2,
                                     .column_scale = scale,
                                     .conductance = conductance,
                                     .apply = true};
        const struct phy_flow_params params = {.gain = 5, .beta = 2, .iterations = 1, .block = 32};
        struct phy_flow_tile_result result;
        uint32_t row, col;
        if (!phy_cpu_meets(&have, &v->needs))
            continue;
        v->run(&tile, &params, scratch, &result);
        assert_int_equal(result.peak_bits, PHY_FLOW_FOOD_LIMIT_BITS); /* 2 * 2^63 */
        assert_true(phy_flow_tile_find_refused(&tile, &row, &col));
        assert_true(row == 0 && col == 1);
        codes[1] = 0x3FFF; /* just below */
        v->run(&tile, &params, scratch, &result);
        assert_int_equal(result.peak_bits, 0x5F7F0000u);
        assert_false(phy_flow_tile_find_refused(&tile, &row, &col));
    }
}

static void keeps_its_arithmetic_and_the_callers_mode_apart(void **state)
{
    (void)state;
    struct phy_cpu_features have = phy_cpu_detect();
    struct flow_case c = random_case(first_seed(80000), 50, 70, 128);
    c.pattern = GAUSSIAN;
    c.params.iterations = 30;
    struct run expected = run_create(&c), got = run_create(&c);
    seed = c.seed;
    fill_codes(&c, expected.codes.data, code_elements(&c));
    fill_column_scale(&c, expected.column_scale.data);
    size_t bytes = code_elements(&c) * phy_float_bytes(c.type);
    static char before[MAX_CELLS * 4];
    memcpy(before, expected.codes.data, bytes);
    memcpy(got.column_scale.data, expected.column_scale.data, c.cols * sizeof(float));
    run_form(&phy_flow_variants[0], &c, &expected);
    for (const struct phy_flow_variant *v = phy_flow_variants; v->name; v++) {
        if (!phy_cpu_meets(&have, &v->needs))
            continue;
        memcpy(got.codes.data, before, bytes);
        fesetround(FE_UPWARD);
        run_form(v, &c, &got);
        int mode = fegetround();
        fesetround(FE_TONEAREST);
        assert_int_equal(mode, FE_UPWARD);
        compare(&c, v, &expected, &got);
    }
    run_destroy(&expected);
    run_destroy(&got);
}

static void dispatch_takes_the_last_form_that_the_processor_has(void **state)
{
    (void)state;
    struct phy_cpu_features nothing = {0}, have = phy_cpu_detect();
    assert_string_equal(phy_flow_variants[0].name, "ref");
    assert_ptr_equal(phy_flow_variant_best(&nothing), &phy_flow_variants[0]);
    const struct phy_flow_variant *last = NULL;
    for (const struct phy_flow_variant *v = phy_flow_variants; v->name; v++) {
        assert_ptr_equal(phy_flow_variant_named(v->name), v);
        last = phy_cpu_meets(&have, &v->needs) ? v : last;
        print_message("%s: %s\n", v->name,
                      phy_cpu_meets(&have, &v->needs) ? "compared" : "SKIPPED, not on this processor");
    }
    assert_ptr_equal(phy_flow_variant_best(&have), last);
    assert_null(phy_flow_variant_named("avx3"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(dispatch_takes_the_last_form_that_the_processor_has),
        cmocka_unit_test(agrees_on_every_pattern_type_and_power),
        cmocka_unit_test(agrees_on_every_clipped_width_and_height),
        cmocka_unit_test(agrees_on_the_tiles_of_a_matrix),
        cmocka_unit_test(agrees_for_up_to_200_iterations),
        cmocka_unit_test(agrees_on_random_cases),
        cmocka_unit_test(leaves_refused_tiles_alone),
        cmocka_unit_test(refuses_a_product_with_the_scale_that_is_too_large),
        cmocka_unit_test(keeps_its_arithmetic_and_the_callers_mode_apart),
    };
    return cmocka_run_group_tests_name("flow_parity", tests, NULL, NULL);
}
