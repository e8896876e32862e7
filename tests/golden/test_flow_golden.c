/* SPDX-License-Identifier: Apache-2.0 */
/* Every form of the tile flow against the goldens that the executable contract wrote. An argument names another folder
 * with a manifest. */
#include "support/test.h"

#include <cjson/cJSON.h>

#include "base/alloc.h"
#include "ffn/sha256.h"
#include "kernels/flow_tile.h"

static const char *folder = PHY_TEST_DATA "/golden/flow";

/* The caller frees. A byte of 0 follows the file's bytes. */
static void *read_whole(const char *name, size_t *bytes)
{
    char path[1024];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "rb");
    if (!file)
        fail_msg("%s: cannot open", path);
    fseek(file, 0, SEEK_END);
    *bytes = (size_t)ftell(file);
    rewind(file);
    char *data = phy_zalloc(*bytes + 1, 1);
    assert_non_null(data);
    assert_int_equal(fread(data, 1, *bytes, file), *bytes);
    fclose(file);
    return data;
}

static const char *text_of(const cJSON *object, const char *key)
{
    const char *text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(object, key));
    return text ? text : "";
}

static double number_of(const cJSON *object, const char *key)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, key);
    if (!cJSON_IsNumber(item))
        fail_msg("manifest: no number \"%s\"", key);
    return item->valuedouble;
}

/* One golden matrix and what a form made of it. */
struct matrix {
    uint32_t rows, cols;
    uint16_t *before, *after; /* (rows, cols) bf16 */
    float *column_scale;      /* (cols) or NULL */
    float *conductance;       /* (rows, cols) */
    uint8_t *mask;            /* (rows, cols) 1 where killed */
    uint32_t killed, zero_before;
};

static void run_tile(const struct phy_flow_variant *variant, const struct phy_flow_params *params, struct matrix *m,
                     uint32_t row, uint32_t col, void *scratch)
{
    static float conductance[PHY_FLOW_MAX_BLOCK * PHY_FLOW_MAX_BLOCK];
    struct phy_flow_tile tile = {
        .codes = m->after + (size_t)row * m->cols + col,
        .row_stride = m->cols,
        .type = PHY_FLOAT_BF16,
        .rows = m->rows - row < params->block ? m->rows - row : params->block,
        .cols = m->cols - col < params->block ? m->cols - col : params->block,
        .column_scale = m->column_scale ? m->column_scale + col : NULL,
        .conductance = conductance,
        .apply = true,
    };
    struct phy_flow_tile_result result;
    variant->run(&tile, params, scratch, &result);
    m->killed += result.killed;
    m->zero_before += result.zero_before;
    for (uint32_t r = 0; r < tile.rows; r++)
        memcpy(m->conductance + (size_t)(row + r) * m->cols + col, conductance + r * tile.cols,
               tile.cols * sizeof *conductance);
}

static void run_matrix(const struct phy_flow_variant *variant, const struct phy_flow_params *params, struct matrix *m)
{
    void *scratch = phy_alloc_aligned(PHY_FLOW_SCRATCH_BYTES);
    assert_non_null(scratch);
    size_t cells = (size_t)m->rows * m->cols;
    memcpy(m->after, m->before, cells * sizeof *m->after);
    m->killed = m->zero_before = 0;
    for (uint32_t r = 0; r < m->rows; r += params->block) {
        for (uint32_t c = 0; c < m->cols; c += params->block)
            run_tile(variant, params, m, r, c, scratch);
    }
    for (size_t i = 0; i < cells; i++)
        m->mask[i] = m->conductance[i] < 0.5f && (m->before[i] & 0x7FFF) != 0;
    phy_free(scratch);
}

static void expect_digest(const cJSON *golden, const char *key, const void *data, size_t bytes, const char *form)
{
    char hex[PHY_SHA256_TEXT_BYTES];
    phy_sha256_text(data, bytes, hex);
    if (strcmp(hex, text_of(golden, key)) != 0)
        fail_msg("%s, form %s: %s is %s, expected %s", text_of(golden, "name"), form, key, hex, text_of(golden, key));
}

static void expect_golden(const cJSON *golden, const struct phy_flow_variant *variant, struct matrix *m)
{
    const struct phy_flow_params params = {
        .gain = (float)number_of(golden, "gain"),
        .beta = (uint32_t)number_of(golden, "beta"),
        .iterations = (uint32_t)number_of(golden, "iterations"),
        .block = (uint32_t)number_of(golden, "block"),
    };
    size_t cells = (size_t)m->rows * m->cols;
    run_matrix(variant, &params, m);
    expect_digest(golden, "sha256_conductance", m->conductance, cells * sizeof *m->conductance, variant->name);
    expect_digest(golden, "sha256_mask_u8", m->mask, cells, variant->name);
    expect_digest(golden, "sha256_output", m->after, cells * sizeof *m->after, variant->name);
    assert_int_equal(m->killed, number_of(golden, "killed"));
    assert_int_equal(m->zero_before, number_of(golden, "zero_before"));
}

static void check_golden(const cJSON *golden, const struct phy_cpu_features *have)
{
    struct matrix m = {.rows = (uint32_t)number_of(golden, "rows"), .cols = (uint32_t)number_of(golden, "cols")};
    size_t cells = (size_t)m.rows * m.cols, bytes;
    m.before = read_whole(text_of(golden, "file"), &bytes);
    assert_int_equal(bytes, cells * sizeof *m.before);
    if (*text_of(golden, "column_scale")) {
        m.column_scale = read_whole(text_of(golden, "column_scale"), &bytes);
        assert_int_equal(bytes, m.cols * sizeof *m.column_scale);
    }
    m.after = phy_alloc(cells, sizeof *m.after);
    m.conductance = phy_alloc(cells, sizeof *m.conductance);
    m.mask = phy_alloc(cells, 1);
    assert_true(m.after && m.conductance && m.mask);
    for (const struct phy_flow_variant *v = phy_flow_variants; v->name; v++) {
        if (phy_cpu_meets(have, &v->needs))
            expect_golden(golden, v, &m);
    }
    phy_free(m.before);
    phy_free(m.column_scale);
    phy_free(m.after);
    phy_free(m.conductance);
    phy_free(m.mask);
}

static void every_form_gives_the_golden_bits(void **state)
{
    (void)state;
    size_t bytes;
    char *text = read_whole("manifest.json", &bytes);
    cJSON *manifest = cJSON_Parse(text);
    assert_non_null(manifest);
    const cJSON *cases = cJSON_GetObjectItemCaseSensitive(manifest, "cases"), *golden;
    assert_true(cJSON_GetArraySize(cases) > 0);
    struct phy_cpu_features have = phy_cpu_detect();
    cJSON_ArrayForEach(golden, cases) check_golden(golden, &have);
    for (const struct phy_flow_variant *v = phy_flow_variants; v->name; v++)
        print_message("%s: %s\n", v->name, phy_cpu_meets(&have, &v->needs) ? "ran" : "SKIPPED, not on this processor");
    cJSON_Delete(manifest);
    phy_free(text);
}

static void digest_of_the_standard_examples(void **state)
{
    (void)state;
    char hex[PHY_SHA256_TEXT_BYTES];
    phy_sha256_text("abc", 3, hex);
    assert_string_equal(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    phy_sha256_text("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", 56, hex);
    assert_string_equal(hex, "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
}

int main(int argc, char **argv)
{
    if (argc > 1)
        folder = argv[1];
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(digest_of_the_standard_examples),
        cmocka_unit_test(every_form_gives_the_golden_bits),
    };
    return cmocka_run_group_tests_name("flow_golden", tests, NULL, NULL);
}
