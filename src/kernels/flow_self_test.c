/* SPDX-License-Identifier: Apache-2.0 */
/* Built with -ffp-contract=off, as the forms are. */
#include "kernels/flow_self_test.h"

#include <math.h>
#include <stdio.h>

#include "base/alloc.h"
#include "kernels/flow_tile_forms.h"

/* A mixing function of 32 bits: every input bit reaches every output bit. */
static uint32_t hash(uint32_t x)
{
    x ^= x >> 16;
    x *= 0x7FEB352Du;
    x ^= x >> 15;
    x *= 0x846CA68Bu;
    return x ^ x >> 16;
}

static uint32_t hash_of(uint32_t stream, uint32_t index)
{
    return hash(index + hash(stream * 0x9E3779B9u + 1));
}

uint64_t phy_flow_self_test_digest(const void *data, size_t bytes)
{
    uint64_t digest = UINT64_C(0xCBF29CE484222325);
    for (size_t i = 0; i < bytes; i += 4) {
        uint32_t word = 0;
        memcpy(&word, (const char *)data + i, bytes - i < 4 ? bytes - i : 4);
        digest = (digest ^ word) * UINT64_C(0x100000001B3);
    }
    return digest;
}

/* A normal number with a hashed sign and mantissa and an exponent of 2^low .. 2^(low + count - 1). */
static float number(uint32_t h, int low, uint32_t count)
{
    uint32_t exponent = (uint32_t)(low + 127) + (h >> 8) % count;
    return phy_float_of_bits((h & 0x80000000u) | exponent << 23 | (hash(h) & 0x007FFFFFu));
}

/* Operands i in one of eight ranges; `try` is part of the hash. */
static void draw(uint32_t i, uint32_t try, float *a, float *b, float *c)
{
    uint32_t h = hash_of(try, i), ha = hash(h + 1), hb = hash(h + 2), hc = hash(h + 3);
    switch (i % 8) {
    default: /* every exponent there is */
        *a = number(ha, -126, 254);
        *b = number(hb, -126, 254);
        *c = number(hc, -126, 254);
        break;
    case 3: /* neighbours: a - b loses most of its bits */
        *a = number(ha, -60, 120);
        *b = phy_float_of_bits(phy_bits_of_float(*a) ^ (hb & 0xFFFu));
        *c = *a;
        break;
    case 4: /* c = -(a*b): zero when a*b is rounded first, its rounding error when it is fused */
        *a = number(ha, -20, 40);
        *b = number(hb, -20, 40);
        *c = -(*a * *b);
        break;
    case 5: /* the reciprocal's first step */
        *a = phy_float_of_bits(phy_bits_of_float(number(ha, 0, 25)) & 0x7FFFFFFFu);
        *b = phy_float_of_bits(0x7EF311C7u - phy_bits_of_float(*a));
        *c = 2.0f;
        break;
    case 6: /* and its second */
        *a = phy_float_of_bits(phy_bits_of_float(number(ha, 0, 25)) & 0x7FFFFFFFu);
        *b = phy_float_of_bits(0x7EF311C7u - phy_bits_of_float(*a));
        *b = *b * (2.0f - *a * *b);
        *c = 2.0f;
        break;
    case 7: /* few mantissa bits, exponents up to 24 apart: ties, which go to even */
        *a = number(ha, 0, 2);
        *b = phy_float_of_bits(phy_bits_of_float(number(hb, -24, 4)) & 0xFFC00000u);
        *c = phy_float_of_bits(phy_bits_of_float(number(hc, -1, 4)) & 0xFFF00000u);
        break;
    }
}

/* In double, where nothing here is subnormal. */
static bool result_allowed(double x)
{
    return x == 0 || (fabs(x) >= 0x1p-125 && fabs(x) < 0x1p127);
}

static bool operands_allowed(float a, float b, float c)
{
    double product = (double)a * (double)b; /* exact */
    if (!result_allowed(product) || !result_allowed((double)c))
        return false;
    double rounded = (double)(a * b);
    return result_allowed((double)a + (double)b) && result_allowed((double)a - (double)b) &&
           result_allowed(rounded + (double)c) && result_allowed((double)c - rounded);
}

/* In [0, 2^23). An eighth are whole numbers, an eighth just under one. */
static float convertible(uint32_t i)
{
    uint32_t h = hash_of(100, i);
    float x = phy_float_of_bits(phy_bits_of_float(number(h, -8, 31)) & 0x7FFFFFFFu);
    if (i % 8 > 1)
        return x;
    x = (float)(uint32_t)x;
    return i % 8 == 0 || x == 0 ? x : phy_float_of_bits(phy_bits_of_float(x) - 1);
}

__attribute__((noinline)) static void fill_operands(struct phy_flow_operands *operands)
{
    for (uint32_t i = 0; i < PHY_FLOW_SELF_TEST_OPERANDS; i++) {
        float a, b, c;
        uint32_t try = 0;
        do
            draw(i, try++, &a, &b, &c);
        while (!operands_allowed(a, b, c));
        uint32_t h = hash_of(101, i);
        operands[i] = (struct phy_flow_operands){
            .a = phy_bits_of_float(a),
            .b = phy_bits_of_float(b),
            .c = phy_bits_of_float(c),
            .x = phy_bits_of_float(convertible(i)),
            .u = (h & 0x00FFFFFFu) >> (h >> 24) % 24,
        };
    }
}

__attribute__((noinline)) static void fill_outcomes(const struct phy_flow_operands *operands, uint32_t count,
                                                    struct phy_flow_outcomes *outcomes)
{
    for (uint32_t i = 0; i < count; i++) {
        float a = phy_float_of_bits(operands[i].a), b = phy_float_of_bits(operands[i].b),
              c = phy_float_of_bits(operands[i].c);
        outcomes[i] = (struct phy_flow_outcomes){
            .add = phy_bits_of_float(a + b),
            .sub = phy_bits_of_float(a - b),
            .mul = phy_bits_of_float(a * b),
            .mul_add = phy_bits_of_float(a * b + c),
            .mul_sub = phy_bits_of_float(c - a * b),
            .to_uint = (uint32_t)phy_float_of_bits(operands[i].x),
            .to_float = phy_bits_of_float((float)operands[i].u),
        };
    }
}

void phy_flow_self_test_operands(struct phy_flow_operands *operands)
{
    uint64_t mode = phy_float_mode_set(PHY_FLOAT_MODE_FLUSH);
    fill_operands(operands);
    phy_float_mode_restore(mode);
}

void phy_flow_self_test_outcomes(const struct phy_flow_operands *operands, uint32_t count,
                                 struct phy_flow_outcomes *outcomes)
{
    uint64_t mode = phy_float_mode_set(PHY_FLOAT_MODE_FLUSH);
    fill_outcomes(operands, count, outcomes);
    phy_float_mode_restore(mode);
}

static const struct {
    const char *name;
    uint64_t digest;
} operations[] = {
    {"a+b", UINT64_C(0x236A39096A4161ED)},      {"a-b", UINT64_C(0x6A1A79F25BC7DA55)},
    {"a*b", UINT64_C(0x7E450CF23887EE80)},      {"a*b+c", UINT64_C(0xA9DE5589040C8428)},
    {"c-a*b", UINT64_C(0xB4649B4D1973601E)},    {"uint(x)", UINT64_C(0x442D6440C7CC558F)},
    {"float(u)", UINT64_C(0xD969E71CF01AA4F6)},
};

const char *phy_flow_self_test_judge_operations(const struct phy_flow_outcomes *outcomes)
{
    enum { COUNT = sizeof operations / sizeof *operations };
    _Static_assert(sizeof *outcomes == COUNT * sizeof(uint32_t), "one digest for each member");
    for (size_t n = 0; n < COUNT; n++) {
        uint32_t column[PHY_FLOW_SELF_TEST_OPERANDS];
        for (size_t i = 0; i < PHY_FLOW_SELF_TEST_OPERANDS; i++)
            memcpy(&column[i], (const char *)&outcomes[i] + n * sizeof(uint32_t), sizeof(uint32_t));
        if (phy_flow_self_test_digest(column, sizeof column) != operations[n].digest)
            return operations[n].name;
    }
    return NULL;
}

const struct phy_flow_self_test_tile phy_flow_self_test_tiles[PHY_FLOW_SELF_TEST_TILES] = {
    {
        .name = "a 256x256 bf16 tile",
        .type = PHY_FLOAT_BF16,
        .rows = 256,
        .cols = 256,
        .params = {.gain = 5.0f, .beta = 2, .iterations = 30, .block = 256},
        .result = {.killed = 14810, .zero_before = 0, .peak_bits = 0x3D440000},
        .conductance_digest = UINT64_C(0x7641585412C01DE1),
        .codes_digest = UINT64_C(0x0A31152AE858C42F),
    },
    {
        .name = "a 201x37 bf16 tile of extremes",
        .type = PHY_FLOAT_BF16,
        .rows = 201,
        .cols = 37,
        .params = {.gain = 1.75f, .beta = 3, .iterations = 17, .block = 256},
        .result = {.killed = 4942, .zero_before = 909, .peak_bits = 0x40FB0000},
        .conductance_digest = UINT64_C(0xADDFF6E64C157617),
        .codes_digest = UINT64_C(0xE877C51460306340),
    },
    {
        .name = "a 64x61 f16 tile with a column scale",
        .type = PHY_FLOAT_F16,
        .rows = 64,
        .cols = 61,
        .column_scaled = true,
        .params = {.gain = 2.5f, .beta = 1, .iterations = 30, .block = 64},
        .result = {.killed = 1887, .zero_before = 0, .peak_bits = 0x4000C3BC},
        .conductance_digest = UINT64_C(0x30F0061D84D7B3EC),
        .codes_digest = UINT64_C(0x823F0380189C8696),
    },
    {
        .name = "a 5x128 f32 tile of extremes with a column scale",
        .type = PHY_FLOAT_F32,
        .rows = 5,
        .cols = 128,
        .column_scaled = true,
        .params = {.gain = 11.0f, .beta = 4, .iterations = 5, .block = 128},
        .result = {.killed = 298, .zero_before = 82, .peak_bits = 0x437B0F6B},
        .conductance_digest = UINT64_C(0x7BBC8CCFB7605D68),
        .codes_digest = UINT64_C(0x9DE3C0DBD7696B87),
    },
};

/* Near enough to a normal deviate of 1/64: eight uniform 16-bit numbers, less their mean. Exact. */
static float bell(uint32_t stream, uint32_t i)
{
    int32_t sum = -8 * 32768;
    for (uint32_t n = 0; n < 4; n++) {
        uint32_t h = hash_of(stream + n, i);
        sum += (int32_t)(h & 0xFFFFu) + (int32_t)(h >> 16);
    }
    return (float)sum * 0x1p-22f;
}

/* From subnormal to 2^3, one in eight a zero of either sign; three quarters near one another, so that they compete. */
static uint32_t extreme_bits(uint32_t stream, uint32_t i)
{
    uint32_t h = hash_of(stream, i);
    uint32_t exponent = h >> 30 ? 117 + (h >> 8) % 12 : (h >> 8) % 130;
    return (h & 7) == 0 ? h << 28 & 0x80000000u : (hash(h) & 0x807FFFFFu) | exponent << 23;
}

/* Towards zero; |x| < 2^15. Below 2^-14 a binary16 is a subnormal of 2^-24 steps. */
static uint16_t to_f16(float x)
{
    uint32_t bits = phy_bits_of_float(x), sign = bits >> 16 & 0x8000u, magnitude = bits & 0x7FFFFFFFu;
    if (magnitude < 0x38800000u)
        return (uint16_t)(sign | (uint32_t)(phy_float_of_bits(magnitude) * 0x1p24f));
    return (uint16_t)(sign | (magnitude - 0x38000000u) >> 13);
}

static uint32_t stream_of(const struct phy_flow_self_test_tile *tile)
{
    return 200 + 16 * (uint32_t)(tile - phy_flow_self_test_tiles);
}

static bool holds_extremes(const struct phy_flow_self_test_tile *tile)
{
    return tile == &phy_flow_self_test_tiles[1] || tile == &phy_flow_self_test_tiles[3];
}

void phy_flow_self_test_inputs(const struct phy_flow_self_test_tile *tile, void *codes, float *column_scale)
{
    uint32_t stream = stream_of(tile);
    for (uint32_t i = 0; i < tile->rows * tile->cols; i++) {
        uint32_t bits = holds_extremes(tile) ? extreme_bits(stream, i) : phy_bits_of_float(bell(stream, i));
        uint16_t half = tile->type == PHY_FLOAT_F16 ? to_f16(phy_float_of_bits(bits)) : (uint16_t)(bits >> 16);
        if (tile->type == PHY_FLOAT_F32)
            memcpy((char *)codes + 4 * (size_t)i, &bits, 4);
        else
            memcpy((char *)codes + 2 * (size_t)i, &half, 2);
    }
    for (uint32_t c = 0; tile->column_scaled && c < tile->cols; c++)
        column_scale[c] =
            c % 16 == 5 ? 0.0f
                        : phy_float_of_bits(phy_bits_of_float(number(hash_of(stream + 8, c), -6, 12)) & 0x7FFFFFFFu);
}

const char *phy_flow_self_test_judge_tile(const struct phy_flow_self_test_tile *tile, const void *codes,
                                          const float *conductance, const struct phy_flow_tile_result *result)
{
    size_t cells = (size_t)tile->rows * tile->cols;
    if (conductance && phy_flow_self_test_digest(conductance, cells * sizeof *conductance) != tile->conductance_digest)
        return "conductance";
    if (memcmp(result, &tile->result, sizeof *result) != 0)
        return "counts";
    if (phy_flow_self_test_digest(codes, cells * phy_float_bytes(tile->type)) != tile->codes_digest)
        return "output";
    return NULL;
}

/* One allocation's layout; it holds any of the tiles. */
struct workspace {
    struct phy_flow_operands operands[PHY_FLOW_SELF_TEST_OPERANDS];
    struct phy_flow_outcomes outcomes[PHY_FLOW_SELF_TEST_OPERANDS];
    float codes[PHY_FLOW_SELF_TEST_MAX_CELLS];
    float conductance[PHY_FLOW_SELF_TEST_MAX_CELLS];
    float column_scale[PHY_FLOW_MAX_BLOCK];
};

static const char *run_tile(const struct phy_flow_variant *variant, const struct phy_flow_self_test_tile *expected,
                            struct workspace *work, void *scratch)
{
    struct phy_flow_tile tile = {
        .codes = work->codes,
        .row_stride = expected->cols,
        .type = expected->type,
        .rows = expected->rows,
        .cols = expected->cols,
        .column_scale = expected->column_scaled ? work->column_scale : NULL,
        .conductance = work->conductance,
        .apply = true,
    };
    struct phy_flow_tile_result result;
    phy_flow_self_test_inputs(expected, work->codes, work->column_scale);
    variant->run(&tile, &expected->params, scratch, &result);
    return phy_flow_self_test_judge_tile(expected, work->codes, work->conductance, &result);
}

static enum phy_status run_all(const struct phy_flow_variant *variant, struct workspace *work, void *scratch,
                               char *failed, size_t failed_bytes)
{
    phy_flow_self_test_operands(work->operands);
    phy_flow_self_test_outcomes(work->operands, PHY_FLOW_SELF_TEST_OPERANDS, work->outcomes);
    const char *what = phy_flow_self_test_judge_operations(work->outcomes);
    if (what) {
        snprintf(failed, failed_bytes, "%s", what);
        return PHY_ERR_DEVICE;
    }
    for (const struct phy_flow_self_test_tile *t = phy_flow_self_test_tiles;
         t < phy_flow_self_test_tiles + PHY_FLOW_SELF_TEST_TILES; t++) {
        what = run_tile(variant, t, work, scratch);
        if (what) {
            snprintf(failed, failed_bytes, "%s of %s", what, t->name);
            return PHY_ERR_DEVICE;
        }
    }
    return PHY_OK;
}

enum phy_status phy_flow_self_test(const struct phy_flow_variant *variant, char *failed, size_t failed_bytes)
{
    struct workspace *work = phy_alloc(1, sizeof *work);
    void *scratch = phy_alloc_aligned(PHY_FLOW_SCRATCH_BYTES);
    enum phy_status status = work && scratch ? run_all(variant, work, scratch, failed, failed_bytes) : PHY_ERR_MEMORY;
    phy_free(scratch);
    phy_free(work);
    return status;
}
