/* SPDX-License-Identifier: Apache-2.0 */
/* Every decoder against tests/golden/quant: <format>.<set>.blocks.bin decodes to <format>.<set>.f32.bin, bit for bit.
 * The f32 pair is one file: its decoding is itself. */
#include "support/test.h"

#include <stdlib.h>

#include "quant/quant_format.h"
#include "quant/small_float.h"
#include "quant/weight_type.h"

static uint8_t *load(const char *format, const char *set, const char *kind, size_t *bytes)
{
    char path[4096];
    snprintf(path, sizeof path, PHY_TEST_DATA "/golden/quant/%s.%s.%s.bin", format, set, kind);
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

/* NaN codes decode to any NaN. */
static bool same_bits(uint32_t got, uint32_t expected)
{
    bool both_nan = (got & 0x7FFFFFFF) > 0x7F800000 && (expected & 0x7FFFFFFF) > 0x7F800000;
    return got == expected || both_nan;
}

static void check_pair(const struct phy_quant_format *format, const char *set, const char *expected_kind)
{
    size_t block_bytes, float_bytes;
    uint8_t *blocks = load(format->name, set, "blocks", &block_bytes);
    uint8_t *expected = load(format->name, set, expected_kind, &float_bytes);
    size_t count = block_bytes / format->bytes, elements = count * format->elements;
    assert_int_equal(block_bytes % format->bytes, 0);
    assert_int_equal(elements * 4, float_bytes);
    assert_true(count > 0);
    /* One byte off: no decoder may rely on alignment. */
    uint8_t *shifted = malloc(block_bytes + 1);
    memcpy(shifted + 1, blocks, block_bytes);
    float *out = malloc(elements * sizeof *out);
    format->decode(shifted + 1, count, out);
    for (size_t i = 0; i < elements; i++) {
        uint32_t got = phy_bits_of_float(out[i]), want = phy_load_u32(expected + 4 * i);
        if (!same_bits(got, want))
            fail_msg("%s.%s: element %zu of block %zu is %08x, not %08x", format->name, set, i % format->elements,
                     i / format->elements, got, want);
    }
    free(blocks);
    free(expected);
    free(shifted);
    free(out);
}

static void decodes_random_blocks_of_every_format_bit_for_bit(void **state)
{
    (void)state;
    unsigned checked = 0;
    for (size_t i = 0; i < phy_quant_format_count; i++) {
        const struct phy_quant_format *format = &phy_quant_formats[i];
        if (strcmp(format->name, "f16") == 0)
            continue;
        check_pair(format, "random", strcmp(format->name, "f32") == 0 ? "blocks" : "f32");
        checked++;
    }
    assert_int_equal(checked, 17);
}

static void widens_every_f16_code(void **state)
{
    (void)state;
    check_pair(phy_quant_by_gguf_id(1), "all", "f32");
}

static void mxfp4_scales_253_to_255_overflow_as_the_reference_does(void **state)
{
    (void)state;
    check_pair(phy_quant_by_gguf_id(39), "edge", "f32");
}

static void rounds_to_bf16_to_nearest_even(void **state)
{
    (void)state;
    FILE *file = fopen(PHY_TEST_DATA "/golden/quant/bf16_encode.tsv", "r");
    assert_non_null(file);
    char line[256];
    unsigned checked = 0, input, code;
    while (fgets(line, sizeof line, file)) {
        if (sscanf(line, "bf16 %x %x", &input, &code) != 2)
            continue;
        float value = phy_float_of_bits(input);
        uint8_t out[2];
        phy_bf16_encode(&value, 1, out);
        unsigned got = phy_load_u16(out);
        bool both_nan = (got & 0x7FFF) > 0x7F80 && (code & 0x7FFF) > 0x7F80;
        if (got != code && !both_nan)
            fail_msg("%08x rounds to %04x, not %04x", input, got, code);
        checked++;
    }
    fclose(file);
    assert_int_equal(checked, 582);
}

static void knows_no_format_for_ids_that_it_cannot_decode(void **state)
{
    (void)state;
    assert_null(phy_quant_by_gguf_id(16));
    assert_null(phy_quant_by_gguf_id(9));
    assert_null(phy_quant_by_gguf_id(UINT32_MAX));
    assert_string_equal(phy_quant_by_gguf_id(14)->name, "q6_K");
}

static void every_weight_type_has_the_format_of_its_name(void **state)
{
    static const char *const names[PHY_WEIGHT_BITMAP_END] = {
        [PHY_WEIGHT_BF16] = "bf16",
        [PHY_WEIGHT_F16] = "f16",
        [PHY_WEIGHT_F32] = "f32",
        [PHY_WEIGHT_Q8_0] = "q8_0",
        [PHY_WEIGHT_Q4_0] = "q4_0",
        [PHY_WEIGHT_Q4_K] = "q4_K",
        [PHY_WEIGHT_Q6_K] = "q6_K",
        [PHY_WEIGHT_FP8] = "vindex_fp8",
        [PHY_WEIGHT_FP4] = "vindex_fp4",
        [PHY_WEIGHT_MXFP4] = "mxfp4",
        [PHY_WEIGHT_BITMAP_BF16] = "bitmap_bf16",
        [PHY_WEIGHT_BITMAP_F16] = "bitmap_f16",
        [PHY_WEIGHT_BITMAP_F32] = "bitmap_f32",
    };
    enum phy_weight_type found;
    (void)state;
    for (int type = 0; type < PHY_WEIGHT_BITMAP_END; type++) {
        const struct phy_quant_format *format = phy_weight_format((enum phy_weight_type)type);
        assert_string_equal(format->name, names[type]);
        assert_true(phy_weight_type_named(names[type], &found));
        assert_int_equal(found, type);
        if (!phy_weight_is_bitmap((enum phy_weight_type)type))
            assert_ptr_equal(format, phy_quant_named(names[type]));
    }
    assert_false(phy_weight_type_named("q4_1", &found)); /* decoded, but not multiplied in */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(decodes_random_blocks_of_every_format_bit_for_bit),
        cmocka_unit_test(widens_every_f16_code),
        cmocka_unit_test(mxfp4_scales_253_to_255_overflow_as_the_reference_does),
        cmocka_unit_test(rounds_to_bf16_to_nearest_even),
        cmocka_unit_test(every_weight_type_has_the_format_of_its_name),
        cmocka_unit_test(knows_no_format_for_ids_that_it_cannot_decode),
    };
    return cmocka_run_group_tests_name("quant goldens", tests, NULL, NULL);
}
