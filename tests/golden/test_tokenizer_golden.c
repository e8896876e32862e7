/* SPDX-License-Identifier: Apache-2.0 */
/* Every line of the goldens, exactly: five small tokenizers that are here, and two real ones where they are to be had.
 */
#include "support/test.h"

#include <stdlib.h>

#include "model/tokenizer_dom.h"
#include "physarium/physarium.h"

struct line_reader {
    FILE *file;
    char *text, *work; /* a line, and the copy that its tree points into */
    struct phy_dom line;
    size_t capacity, number;
    unsigned wrong;
    const char *path;
};

static char *path_of(const char *folder, const char *name)
{
    size_t bytes = strlen(folder) + strlen(name) + 2;
    char *path = malloc(bytes);
    snprintf(path, bytes, "%s/%s", folder, name);
    return path;
}

/* The line as a tree: our own scanner, because U+0000 ends a string for others. */
static bool next_line(struct line_reader *r)
{
    if (getline(&r->text, &r->capacity, r->file) < 0)
        return false;
    r->number++;
    free(r->work);
    r->work = strdup(r->text);
    struct phy_json_scan scan;
    struct phy_json_token token;
    phy_json_begin(&scan, r->work, strlen(r->work));
    phy_json_next(&scan, &token);
    assert_int_equal(phy_dom_read(&r->line, &scan, &token, r->path, NULL), PHY_OK);
    return true;
}

static const struct phy_dom_node *value_of(const struct line_reader *r, const char *key)
{
    bool twice;
    uint32_t node = phy_dom_get(&r->line, 0, key, &twice);
    return node ? &r->line.nodes[node] : NULL;
}

static char *text_of(const struct phy_dom_node *node, bool is_hex, size_t *bytes)
{
    char *text = malloc(node->bytes + 1);
    *bytes = is_hex ? node->bytes / 2 : node->bytes;
    if (!is_hex)
        memcpy(text, node->text, node->bytes);
    for (size_t i = 0; is_hex && i < *bytes; i++) {
        unsigned byte;
        assert_int_equal(sscanf(node->text + 2 * i, "%2x", &byte), 1);
        text[i] = (char)byte;
    }
    return text;
}

static uint32_t *ids_of(const struct line_reader *r, const struct phy_dom_node *array, size_t *count)
{
    uint32_t *ids = malloc(r->line.count * sizeof *ids);
    *count = 0;
    for (uint32_t node = array->first; node; node = r->line.nodes[node].next)
        ids[(*count)++] = (uint32_t)strtoul(r->line.nodes[node].text, NULL, 10);
    return ids;
}

static void wrong(struct line_reader *r, const char *what)
{
    if (r->wrong++ < 10)
        print_error("%s:%zu: %s: %.200s\n", r->path, r->number, what, r->text);
}

static void compare_ids(struct line_reader *r, const struct phy_tokenizer *t, const char *key,
                        struct phy_encode_params params)
{
    const struct phy_dom_node *expected = value_of(r, key);
    if (!expected)
        return;
    size_t bytes, count;
    char *text = text_of(value_of(r, "text"), false, &bytes);
    uint32_t *ids = ids_of(r, expected, &count);
    struct phy_id_list got;
    assert_int_equal(phy_tokenizer_encode(t, text, bytes, &params, &got), PHY_OK);
    if (got.count != count || memcmp(got.ids, ids, count * sizeof *ids) != 0)
        wrong(r, key);
    phy_id_list_free(&got);
    free(ids);
    free(text);
}

static void compare_text(struct line_reader *r, const struct phy_tokenizer *t, const char *ids_key, const char *key,
                         struct phy_decode_params params)
{
    const struct phy_dom_node *expected = value_of(r, key);
    if (!expected)
        return;
    size_t bytes, count;
    char *text = text_of(expected, params.raw_bytes, &bytes);
    uint32_t *ids = ids_of(r, value_of(r, ids_key), &count);
    struct phy_decoded got;
    assert_int_equal(phy_tokenizer_decode(t, ids, count, &params, &got), PHY_OK);
    if (got.bytes != bytes || memcmp(got.text, text, bytes) != 0)
        wrong(r, key);
    phy_decoded_free(&got);
    free(ids);
    free(text);
}

/* Every line of a file, with whatever of these keys it has. */
static void check_file(const struct phy_tokenizer *t, const char *path, size_t least_lines)
{
    struct line_reader r = {.file = fopen(path, "r"), .path = path};
    assert_non_null(r.file);
    while (next_line(&r)) {
        compare_ids(&r, t, "ids_without_special", (struct phy_encode_params){.no_special = true});
        compare_ids(&r, t, "ids_with_special", (struct phy_encode_params){0});
        compare_ids(&r, t, "ids_special_as_text",
                    (struct phy_encode_params){.no_special = true, .special_as_text = true});
        compare_text(&r, t, "ids_without_special", "decoded", (struct phy_decode_params){0});
        if (value_of(&r, "ids")) {
            compare_text(&r, t, "ids", "text", (struct phy_decode_params){0});
            compare_text(&r, t, "ids", "text_skip_special", (struct phy_decode_params){.skip_special = true});
            compare_text(&r, t, "ids", "bytes_hex", (struct phy_decode_params){.raw_bytes = true});
        }
    }
    print_message("%s: %zu lines, %u differences\n", path, r.number, r.wrong);
    assert_true(r.number >= least_lines);
    assert_int_equal(r.wrong, 0);
    fclose(r.file);
    phy_dom_free(&r.line);
    free(r.work);
    free(r.text);
}

static struct phy_tokenizer *open_tokenizer(const char *folder)
{
    static struct log_record record;
    static struct phy_host host;
    struct phy_tokenizer *t;
    host = recording_host(&record);
    if (phy_tokenizer_open(&t, folder, &(struct phy_tokenizer_params){.host = &host}) != PHY_OK)
        fail_msg("%s: %s", folder, record.error);
    return t;
}

static void check_tiny(const char *name)
{
    char *folder = path_of(PHY_TEST_DATA "/golden/tokenizer", name), *cases = path_of(folder, "tokenizer-cases.jsonl");
    struct phy_tokenizer *t = open_tokenizer(folder);
    check_file(t, cases, 100);
    phy_tokenizer_close(&t);
    free(cases);
    free(folder);
}

static void tiny_qwen2_is_exact(void **state)
{
    (void)state;
    check_tiny("tiny-qwen2");
}

static void tiny_qwen3_is_exact(void **state)
{
    (void)state;
    check_tiny("tiny-qwen3");
}

static void tiny_llama3_is_exact(void **state)
{
    (void)state;
    check_tiny("tiny-llama3");
}

static void tiny_mistral_is_exact(void **state)
{
    (void)state;
    check_tiny("tiny-mistral");
}

static void tiny_gemma3_is_exact(void **state)
{
    (void)state;
    check_tiny("tiny-gemma3");
}

/* $PHY_MODELS/NAME is the model as `physarium import` writes it. */
static void check_real(const char *name, const char *encode_file, const char *decode_file)
{
    const char *models = getenv("PHY_MODELS");
    if (!models) {
        print_message("skipped: PHY_MODELS does not name a folder with the imported model %s\n", name);
        skip();
    }
    char *folder = path_of(models, name), *file = path_of(folder, "tokenizer.json");
    FILE *there = fopen(file, "r");
    if (!there) {
        print_message("skipped: no %s\n", file);
        free(file);
        free(folder);
        skip();
    }
    fclose(there);
    struct phy_tokenizer *t = open_tokenizer(folder);
    check_file(t, encode_file, 450);
    check_file(t, decode_file, 140);
    phy_tokenizer_close(&t);
    free(file);
    free(folder);
}

static void smollm2_is_exact(void **state)
{
    (void)state;
    check_real("smol", PHY_TEST_DATA "/golden/tokenizer/tokenizer_smol.jsonl",
               PHY_TEST_DATA "/golden/tokenizer/decode_smol.jsonl");
}

static void gemma3_is_exact(void **state)
{
    (void)state;
    check_real("gemma", PHY_TEST_DATA "/golden/tokenizer/tokenizer_gemma.jsonl",
               PHY_TEST_DATA "/golden/tokenizer/decode_gemma.jsonl");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tiny_qwen2_is_exact),  cmocka_unit_test(tiny_qwen3_is_exact),
        cmocka_unit_test(tiny_llama3_is_exact), cmocka_unit_test(tiny_mistral_is_exact),
        cmocka_unit_test(tiny_gemma3_is_exact), cmocka_unit_test(smollm2_is_exact),
        cmocka_unit_test(gemma3_is_exact),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
