/* SPDX-License-Identifier: Apache-2.0 */
/* Every encoder against tests/golden/quant: source.f32.bin to <format>.blocks.bin, byte for byte, or to an error no
 * larger than the reference's; and every form of an encoder against its first. */
#include "support/test.h"

#include <math.h>
#include <stdlib.h>

#include "quant/encode_forms.h"
#include "quant/small_float.h"
#include "quant/weight_type.h"

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

/* The first of the names without a form stands for "the" encoder of formats that have only one. */
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
        snprintf(name, sizeof name, "%s.%s.bin", exact[n], n == 0 ? "random.blocks" : "blocks");
        size_t bytes;
        uint8_t *expected = load(n == 0 ? "source.f32.bin" : name, &bytes), *got = malloc(bytes);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(writes_the_goldens_bytes),
    };
    return cmocka_run_group_tests_name("quant encoders", tests, NULL, NULL);
}
