/* SPDX-License-Identifier: Apache-2.0 */
#include "support/test.h"

#include <errno.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/io.h"
#include "model/tokenizer_regex.h"
#include "model/tokenizer_text.h"
#include "physarium/physarium.h"

static struct log_record record;
static struct phy_host host;

static enum phy_status parse(struct phy_tokenizer **t, const char *json, size_t bytes)
{
    host = recording_host(&record);
    return phy_tokenizer_parse(t, json, bytes, "t.json", &(struct phy_tokenizer_params){.host = &host});
}

/* A tokenizer of three tokens, with these members before and after the model's, and at the end. */
#define MODEL(members) "\"model\": {\"type\": \"BPE\", " members "}"
#define ABC "\"vocab\": {\"a\": 0, \"b\": 1, \"ab\": 2}"
#define WITH(members) "{" members ", " MODEL(ABC ", \"merges\": [\"a b\"]") "}"
#define ADDED(id, content)                                                                                             \
    "{\"id\": " id ", \"content\": \"" content                                                                         \
    "\", \"single_word\": false, \"lstrip\": false, \"rstrip\": false, \"normalized\": false, \"special\": true}"
#define SPLIT(pattern)                                                                                                 \
    WITH("\"pre_tokenizer\": {\"type\": \"Split\", \"pattern\": {\"Regex\": \"" pattern                                \
         "\"}, \"behavior\": \"Isolated\", \"invert\": false}")

static struct phy_tokenizer *load(const char *json)
{
    struct phy_tokenizer *t;
    if (parse(&t, json, strlen(json)) != PHY_OK)
        fail_msg("%s: %s", json, record.error);
    return t;
}

static struct phy_tokenizer *load_file(const char *name)
{
    struct phy_tokenizer *t;
    char path[512];
    snprintf(path, sizeof path, "%s/fuzz/tokenizer/%s", PHY_TEST_DATA, name);
    host = recording_host(&record);
    if (phy_tokenizer_open(&t, path, &(struct phy_tokenizer_params){.host = &host}) != PHY_OK)
        fail_msg("%s", record.error);
    return t;
}

static char *read_file(const char *name, size_t *bytes)
{
    char path[512];
    snprintf(path, sizeof path, "%s/fuzz/tokenizer/%s", PHY_TEST_DATA, name);
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    char *text = malloc(1 << 16);
    *bytes = fread(text, 1, 1 << 16, file);
    fclose(file);
    return text;
}

/* Ids as "1 2 3". */
static void expect_ids(const struct phy_tokenizer *t, const char *text, const char *expected)
{
    char got[1024] = "";
    struct phy_id_list ids;
    if (phy_tokenizer_encode(t, text, strlen(text), NULL, &ids) != PHY_OK)
        fail_msg("%s: %s", text, record.error);
    for (size_t i = 0; i < ids.count; i++)
        snprintf(got + strlen(got), sizeof got - strlen(got), i ? " %u" : "%u", ids.ids[i]);
    phy_id_list_free(&ids);
    assert_string_equal(got, expected);
}

static void expect_text(const struct phy_tokenizer *t, const uint32_t *ids, size_t count,
                        struct phy_decode_params params, const char *expected)
{
    struct phy_decoded text;
    assert_int_equal(phy_tokenizer_decode(t, ids, count, &params, &text), PHY_OK);
    assert_int_equal(text.bytes, strlen(expected));
    assert_memory_equal(text.text, expected, text.bytes);
    phy_decoded_free(&text);
}

/* ---- files ---- */

struct bad_file {
    const char *json;
    enum phy_status status;
    const char *words; /* in the message */
};

static void expect_refusal(const struct bad_file *bad)
{
    struct phy_tokenizer *t;
    enum phy_status status = parse(&t, bad->json, strlen(bad->json));
    if (status != bad->status || record.errors != 1 || t || !strstr(record.error, bad->words) ||
        strncmp(record.error, "t.json: ", 8) != 0)
        fail_msg("%.300s\nstatus %s, %u errors: %s\nexpected %s: %s", bad->json, phy_status_name(status), record.errors,
                 record.error, phy_status_name(bad->status), bad->words);
}

static void malformed_and_contradictory_files_are_refused_with_a_fact(void **state)
{
    (void)state;
    static const struct bad_file files[] = {
        {"", PHY_ERR_FORMAT, "byte 0"},
        {"[]", PHY_ERR_FORMAT, "an array, not an object"},
        {"{}", PHY_ERR_FORMAT, "\"model\" is missing"},
        {"{\"model\": 7}", PHY_ERR_FORMAT, "\"model\" is a number"},
        {"{\"model\": {}}", PHY_ERR_UNSUPPORTED, "missing, and so is its type"},
        {"{" MODEL("\"merges\": []") "}", PHY_ERR_FORMAT, "\"vocab\" is missing"},
        {"{" MODEL(ABC) "}", PHY_ERR_FORMAT, "\"merges\" is missing"},
        {"{" MODEL("\"vocab\": [], \"merges\": []") "}", PHY_ERR_FORMAT, "\"vocab\" is not an object"},
        {"{" MODEL(ABC ", \"merges\": {}") "}", PHY_ERR_FORMAT, "\"merges\" is an object"},
        {"{" MODEL(ABC ", \"merges\": []") "} x", PHY_ERR_FORMAT, "white space"},
        {"{" MODEL(ABC ", \"merges\": []") ", " MODEL(ABC) "}", PHY_ERR_FORMAT, "\"model\" is there twice"},
        {"{" MODEL(ABC ", " ABC ", \"merges\": []") "}", PHY_ERR_FORMAT, "\"vocab\" is there twice"},
        {"{" MODEL("\"vocab\": {\"a\": -1}, \"merges\": []") "}", PHY_ERR_FORMAT, "the id \"-1\""},
        {"{" MODEL("\"vocab\": {\"a\": 1.0}, \"merges\": []") "}", PHY_ERR_FORMAT, "the id \"1.0\""},
        {"{" MODEL("\"vocab\": {\"a\": 2147483648}, \"merges\": []") "}", PHY_ERR_FORMAT, "from 0 to 2147483647"},
        {"{" MODEL("\"vocab\": {\"a\": 1e999}, \"merges\": []") "}", PHY_ERR_FORMAT, "the id \"1e999\""},
        {"{" MODEL("\"vocab\": {\"a\": \"1\"}, \"merges\": []") "}", PHY_ERR_FORMAT, "the id is a string"},
        {"{" MODEL("\"vocab\": {\"a\": 1, \"a\": 2}, \"merges\": []") "}", PHY_ERR_FORMAT, "\"a\" is there twice"},
        {"{" MODEL("\"vocab\": {\"a\": 1, \"b\": 1}, \"merges\": []") "}", PHY_ERR_FORMAT, "have the same id 1"},
        {"{" MODEL(ABC ", \"merges\": [\"a c\"]") "}", PHY_ERR_FORMAT, "merge 0: \"c\" is not in the vocabulary"},
        {"{" MODEL(ABC ", \"merges\": [\"a b\", \"ab a\"]") "}", PHY_ERR_FORMAT, "merge 1: \"aba\" is not"},
        {"{" MODEL(ABC ", \"merges\": [\"ab\"]") "}", PHY_ERR_FORMAT, "merge 0: not two parts"},
        {"{" MODEL(ABC ", \"merges\": [\"a b a\"]") "}", PHY_ERR_FORMAT, "merge 0: not two parts"},
        {"{" MODEL(ABC ", \"merges\": [\" a\"]") "}", PHY_ERR_FORMAT, "merge 0: an empty part"},
        {"{" MODEL(ABC ", \"merges\": [[\"a\"]]") "}", PHY_ERR_FORMAT, "merge 0: not a pair"},
        {"{" MODEL(ABC ", \"merges\": [\"a b\", [\"a\", \"b\"]]") "}", PHY_ERR_FORMAT, "are mixed"},
        {"{" MODEL(ABC ", \"merges\": [1]") "}", PHY_ERR_FORMAT, "neither a string nor a pair"},
        {"{" MODEL(ABC ", \"merges\": [], \"fuse_unk\": 1") "}", PHY_ERR_FORMAT, "\"fuse_unk\" is a number"},
        {"{" MODEL(ABC ", \"merges\": [], \"unk_token\": 1") "}", PHY_ERR_FORMAT, "\"unk_token\" is a number"},
        {WITH("\"added_tokens\": {}"), PHY_ERR_FORMAT, "\"added_tokens\" is an object"},
        {WITH("\"added_tokens\": [1]"), PHY_ERR_FORMAT, "added_tokens 0 is a number"},
        {WITH("\"added_tokens\": [{}]"), PHY_ERR_FORMAT, "added_tokens 0: \"id\" is missing"},
        {WITH("\"added_tokens\": [{\"id\": 3, \"content\": \"x\"}]"), PHY_ERR_FORMAT, "\"single_word\" is missing"},
        {WITH("\"added_tokens\": [" ADDED("-3", "x") "]"), PHY_ERR_FORMAT, "the id \"-3\""},
        {WITH("\"added_tokens\": [" ADDED("1", "x") "]"), PHY_ERR_FORMAT, "its id 1 is that of \"b\""},
        {WITH("\"added_tokens\": [" ADDED("3", "b") "]"), PHY_ERR_FORMAT, "its id is 3, the vocabulary says 1"},
        {WITH("\"added_tokens\": [" ADDED("3", "x") ", " ADDED("3", "y") "]"), PHY_ERR_FORMAT,
         "its id 3 is there twice"},
        {WITH("\"added_tokens\": [" ADDED("3", "x") ", " ADDED("4", "x") "]"), PHY_ERR_FORMAT, "\"x\" is there twice"},
        {WITH("\"normalizer\": []"), PHY_ERR_FORMAT, "normalizer is an array"},
        {WITH("\"normalizer\": {\"type\": \"Prepend\"}"), PHY_ERR_FORMAT, "normalizer Prepend: \"prepend\" is missing"},
        {WITH("\"normalizer\": {\"type\": \"Replace\", \"content\": \"\", \"pattern\": {}}"), PHY_ERR_FORMAT,
         "neither"},
        {WITH("\"normalizer\": {\"type\": \"Sequence\", \"normalizers\": 1}"), PHY_ERR_FORMAT, "not an array"},
        {WITH("\"pre_tokenizer\": {\"type\": \"Metaspace\", \"replacement\": \"ab\"}"), PHY_ERR_FORMAT,
         "one character"},
        {WITH("\"pre_tokenizer\": {\"type\": \"Metaspace\", \"replacement\": \"_\", \"add_prefix_space\": false}"),
         PHY_ERR_FORMAT, "contradicts"},
        {WITH("\"decoder\": {\"type\": \"Strip\", \"content\": \"a\", \"start\": -1, \"stop\": 0}"), PHY_ERR_FORMAT,
         "\"start\""},
        {WITH("\"post_processor\": {\"type\": \"TemplateProcessing\", \"single\": [{\"Sequence\": {\"id\": \"A\"}}, "
              "{\"SpecialToken\": {\"id\": \"x\"}}], \"special_tokens\": {\"x\": {\"ids\": [9]}}}"),
         PHY_ERR_FORMAT, "no token has the id 9"},
        {WITH("\"post_processor\": {\"type\": \"TemplateProcessing\", \"single\": [{\"SpecialToken\": {\"id\": "
              "\"x\"}}], "
              "\"special_tokens\": {}}"),
         PHY_ERR_FORMAT, "\"x\" is missing"},
        {SPLIT("(a"), PHY_ERR_UNSUPPORTED, "pre_tokenizer Split: the regular expression \"(a\""},
        {SPLIT("[a"), PHY_ERR_FORMAT, "no ] for the ["},
        {SPLIT("a\\\\"), PHY_ERR_FORMAT, "ends in a backslash"},
    };
    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        expect_refusal(&files[i]);
}

static void unsupported_components_are_refused_by_name(void **state)
{
    (void)state;
    static const char *const components[][2] = {
        {"normalizer", "Precompiled"},
        {"normalizer", "Nmt"},
        {"normalizer", "BertNormalizer"},
        {"normalizer", "StripAccents"},
        {"normalizer", "ByteLevel"},
        {"pre_tokenizer", "Whitespace"},
        {"pre_tokenizer", "Punctuation"},
        {"pre_tokenizer", "FixedLength"},
        {"pre_tokenizer", "UnicodeScripts"},
        {"post_processor", "BertProcessing"},
        {"post_processor", "RobertaProcessing"},
        {"decoder", "WordPiece"},
        {"decoder", "CTC"},
        {"decoder", "BPEDecoder"},
        {"decoder", "Of the future"},
    };
    for (size_t i = 0; i < sizeof components / sizeof *components; i++) {
        char json[512], words[128];
        snprintf(json, sizeof json, WITH("\"%s\": {\"type\": \"%s\", \"x\": [1, {}]}"), components[i][0],
                 components[i][1]);
        snprintf(words, sizeof words, "%s \"%s\" is not supported", components[i][0], components[i][1]);
        expect_refusal(&(struct bad_file){json, PHY_ERR_UNSUPPORTED, words});
    }
    static const struct bad_file others[] = {
        {"{\"model\": {\"type\": \"Unigram\", \"vocab\": [[\"a\", 0.0]]}}", PHY_ERR_UNSUPPORTED, "model \"Unigram\""},
        {"{\"model\": {\"vocab\": [[\"a\", 0.0]], \"type\": \"Unigram\"}}", PHY_ERR_UNSUPPORTED, "model \"Unigram\""},
        {"{\"model\": {\"type\": \"WordPiece\", \"vocab\": {\"a\": 0}}}", PHY_ERR_UNSUPPORTED, "model \"WordPiece\""},
        {"{" MODEL(ABC ", \"merges\": [], \"dropout\": 0.1") "}", PHY_ERR_UNSUPPORTED, "dropout"},
        {"{" MODEL(ABC ", \"merges\": [], \"end_of_word_suffix\": \"</w>\"") "}", PHY_ERR_UNSUPPORTED,
         "end_of_word_suffix"},
        {"{" MODEL(ABC ", \"merges\": [], \"continuing_subword_prefix\": \"#\"") "}", PHY_ERR_UNSUPPORTED,
         "continuing_subword_prefix"},
        {WITH("\"version\": \"2.0\""), PHY_ERR_UNSUPPORTED, "version \"2.0\""},
        {WITH("\"decoder\": {\"type\": \"Replace\", \"pattern\": {\"Regex\": \"a\"}, \"content\": \"\"}"),
         PHY_ERR_UNSUPPORTED, "decoder Replace"},
        {WITH("\"normalizer\": {\"type\": \"Replace\", \"pattern\": {\"String\": \"\"}, \"content\": \"\"}"),
         PHY_ERR_UNSUPPORTED, "empty pattern"},
    };
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        expect_refusal(&others[i]);
}

static void deep_nesting_is_malformed_and_long_lists_meet_a_limit(void **state)
{
    (void)state;
    size_t bytes = 1 << 20;
    char *json = malloc(bytes + 64);
    memset(json, '[', bytes);
    memcpy(json, "{\"normalizer\": ", 15);
    json[bytes] = 0;
    expect_refusal(&(struct bad_file){json, PHY_ERR_FORMAT, "nested too deep"});
    memcpy(json, "{\"normalizer\": [", 16);
    for (size_t i = 16; i + 1 < bytes; i += 2)
        memcpy(json + i, "1,", 2);
    expect_refusal(&(struct bad_file){json, PHY_ERR_LIMIT, "more than 65536 values"});
    free(json);
    char steps[8192] = "{\"normalizer\": {\"type\": \"Sequence\", \"normalizers\": [{\"type\": \"NFC\"}";
    for (int i = 0; i < 64; i++)
        strcat(steps, ", {\"type\": \"NFC\"}");
    strcat(steps, "]}, " MODEL(ABC ", \"merges\": []") "}");
    expect_refusal(&(struct bad_file){steps, PHY_ERR_LIMIT, "more than 64 steps of kind normalizer"});
}

static void every_truncated_prefix_is_rejected(void **state)
{
    (void)state;
    static const char *const names[] = {"bytes.tokenizer.json", "pieces.tokenizer.json", "metaspace.tokenizer.json"};
    for (size_t k = 0; k < 3; k++) {
        size_t bytes;
        struct phy_tokenizer *t;
        char *json = read_file(names[k], &bytes);
        for (size_t n = 0; n < bytes; n++) {
            enum phy_status status = parse(&t, json, n);
            if (status != PHY_ERR_FORMAT || record.errors != 1)
                fail_msg("%s: %zu bytes: %s", names[k], n, phy_status_name(status));
        }
        assert_int_equal(parse(&t, json, bytes), PHY_OK);
        phy_tokenizer_close(&t);
        free(json);
    }
}

static void failed_allocations_are_reported_once_and_leak_nothing(void **state)
{
    (void)state;
    static const char *const names[] = {"bytes.tokenizer.json", "pieces.tokenizer.json", "metaspace.tokenizer.json"};
    static const char text[] = "the don  1e\xCC\x81 aaaa<s>\n\xE2\x96\x81";
    for (size_t k = 0; k < 3; k++) {
        size_t bytes;
        char *json = read_file(names[k], &bytes);
        bool done = false;
        for (uint64_t after = 0; !done; after++) {
            struct phy_tokenizer *t;
            struct phy_id_list ids = {0};
            struct phy_decoded decoded = {0};
            phy_alloc_fail_after(after);
            enum phy_status status = parse(&t, json, bytes);
            if (status == PHY_OK)
                status = phy_tokenizer_encode(t, text, sizeof text - 1, NULL, &ids);
            if (status == PHY_OK)
                status = phy_tokenizer_decode(t, ids.ids, ids.count, NULL, &decoded);
            phy_alloc_fail_after(UINT64_MAX);
            done = status == PHY_OK;
            if (status != (done ? PHY_OK : PHY_ERR_MEMORY) || record.errors != !done)
                fail_msg("%s: allocation %u: %s, %u errors: %s", names[k], (unsigned)after, phy_status_name(status),
                         record.errors, record.error);
            phy_decoded_free(&decoded);
            phy_id_list_free(&ids);
            phy_tokenizer_close(&t);
            assert_true(after < 5000);
        }
        free(json);
    }
}

static int fail_reads(void *user, enum phy_io_call call, int fd, size_t *bytes, uint64_t at)
{
    (void)user, (void)fd, (void)at;
    *bytes = *bytes > 100 ? 100 : *bytes; /* short reads are put together, until one fails */
    return call == PHY_IO_READ && at > 500 ? EIO : 0;
}

static void absent_and_unreadable_files_are_io_errors(void **state)
{
    (void)state;
    struct phy_tokenizer *t;
    host = recording_host(&record);
    const struct phy_tokenizer_params params = {.host = &host};
    assert_int_equal(phy_tokenizer_open(&t, PHY_TEST_DATA "/no/such", &params), PHY_ERR_IO);
    assert_int_equal(phy_tokenizer_open(&t, PHY_TEST_DATA "/unit", &params), PHY_ERR_IO);
    assert_non_null(strstr(record.error, "tokenizer.json: No such file"));
    assert_int_equal(phy_tokenizer_open(&t, "/dev/null", &params), PHY_ERR_IO);
    phy_io_set_hook(fail_reads, NULL);
    assert_int_equal(phy_tokenizer_open(&t, PHY_TEST_DATA "/fuzz/tokenizer/bytes.tokenizer.json", &params), PHY_ERR_IO);
    phy_io_set_hook(NULL, NULL);
    assert_int_equal(record.errors, 4);
    assert_null(t);
    phy_tokenizer_close(&t);
}

/* ---- patterns ---- */

static void patterns_are_translated_from_oniguruma(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"\\p{L}+|\\p{^N}", "\\p{L}+|\\P{N}"},
        {"\\p{Han}\\P{Greek}", "\\p{sc:Han}\\P{sc:Greek}"},
        {"\\d\\h[\\h_]", "\\p{Nd}[0-9a-fA-F][0-9a-fA-F_]"},
        {"[^\\s\\d]", "[^\\p{White_Space}\\p{Nd}]"},
        {"a{2,3}+b", "(?:a{2,3})+b"},
        {"(ab){2}?", "(?:(?:ab){2,2})?"},
        {"[x]{,2}", "[x]{0,2}"},
        {"a{1,2}?", "a{1,2}?"},
        {"a{x}{", "a\\{x}\\{"},
        {"(?i:'s)(?=a)(?<!b)(?>c)", "(?i:'s)(?=a)(?<!b)(?>c)"},
        {"(?m:.)", "(?s:.)"},
        {"(?i)a|b", "(?i)a|b"},
        {"[]a\\]]", "[\\]a\\]]"},
        {"\\u4e2d\\x41\\x{1F600}", "\\x{4e2d}\\x{41}\\x{1F600}"},
        {"\\.\\/\\v[\\b]", "\\.\\/\\x0b[\\x08]"},
    };
    host = recording_host(&record);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct phy_octets to = {0};
        assert_int_equal(phy_regex_translate(&to, cases[i][0], strlen(cases[i][0]), "w", &host), PHY_OK);
        assert_int_equal(to.count, strlen(cases[i][1]));
        assert_memory_equal(to.data, cases[i][1], to.count);
        phy_octets_free(&to);
    }
}

static void constructs_that_differ_are_refused(void **state)
{
    (void)state;
    static const char *const patterns[] = {
        "(a)\\1",      "(?<n>a)",    "a(?i)b", "(?s:a)", "(?x: a)", "(?#c)", "[a[b]]",  "[a&&b]",
        "[[:alpha:]]", "\\Ka",       "\\Ra",   "\\X",    "\\Ga",    "[\\W]", "a{1001}", "\\pL",
        "\\p{L",       "\\p{IsHan}", "\\xff",  "\\u12",  "(*FAIL)", "a**",   "\\8",
    };
    host = recording_host(&record);
    for (size_t i = 0; i < sizeof patterns / sizeof *patterns; i++) {
        struct phy_regex *regex;
        enum phy_status status = phy_regex_compile(&regex, patterns[i], strlen(patterns[i]), "w", &host);
        if (status != PHY_ERR_UNSUPPORTED || record.errors != i + 1)
            fail_msg("%s: %s: %s", patterns[i], phy_status_name(status), record.error);
    }
}

/* A long run of a's, and behind it what PCRE2 looks for before it begins: no pattern may take longer than its steps. */
static void patterns_without_end_are_stopped(void **state)
{
    (void)state;
    static const char *const patterns[] = {"(a+)+b", "(a|a)*b",   "(a*)*b",     "(a|aa)+$b",
                                           "a*b|a",  "(a*b|a)*c", ".*.*.*.*x$", "(?=(a+)+b)a"};
    size_t bytes = 1 << 17;
    char *text = malloc(bytes);
    memset(text, 'a', bytes);
    memcpy(text + bytes - 4, "cbxb", 4);
    for (size_t i = 0; i < sizeof patterns / sizeof *patterns; i++) {
        char json[512];
        snprintf(json, sizeof json, SPLIT("%s"), patterns[i]);
        struct phy_tokenizer *t = load(json);
        struct phy_id_list ids;
        enum phy_status status = phy_tokenizer_encode(t, text, bytes, NULL, &ids);
        if (status != PHY_ERR_LIMIT || record.errors != 1)
            fail_msg("%s: %s: %s", patterns[i], phy_status_name(status), record.error);
        assert_non_null(strstr(record.error, "pre_tokenizer Split: the regular expression"));
        phy_tokenizer_close(&t);
    }
    free(text);
}

/* ---- text to ids ---- */

static void added_tokens_are_found_longest_first_with_their_spaces(void **state)
{
    (void)state;
    struct phy_tokenizer *t =
        load_file("bytes.tokenizer.json"); /* <s>, "don" as a word of its own, "  " that takes spaces */
    uint32_t s = 0, don = 0, spaces = 0;
    assert_true(phy_tokenizer_find(t, "<s>", 3, &s) && phy_tokenizer_find(t, "don", 3, &don) &&
                phy_tokenizer_find(t, "  ", 2, &spaces));
    assert_true(phy_tokenizer_is_special(t, s) && !phy_tokenizer_is_special(t, don));
    assert_int_equal(phy_tokenizer_id_limit(t), spaces + 1);
    char expected[128];
    snprintf(expected, sizeof expected, "%u %u %u %u", s, don, spaces, s);
    expect_ids(t, "don \n  \n <s>", expected); /* lstrip and rstrip */
    struct phy_id_list ids;                    /* single_word: not in a longer word */
    assert_int_equal(phy_tokenizer_encode(t, "dont", 4, &(struct phy_encode_params){.no_special = true}, &ids), PHY_OK);
    assert_int_equal(ids.count, 4);
    phy_id_list_free(&ids);
    phy_tokenizer_close(&t);
}

static void text_that_is_not_utf8_is_refused_with_its_place(void **state)
{
    (void)state;
    struct phy_tokenizer *t = load(WITH("\"decoder\": null"));
    struct phy_id_list ids;
    assert_int_equal(phy_tokenizer_encode(t, "ab\xC3", 3, NULL, &ids), PHY_ERR_FORMAT);
    assert_string_equal(record.error, "the text is not UTF-8 at byte 2");
    assert_int_equal(phy_tokenizer_encode(t, "\xED\xA0\x80", 3, NULL, &ids), PHY_ERR_FORMAT);
    assert_null(ids.ids);
    phy_tokenizer_close(&t);
}

static void characters_without_a_token_vanish_or_are_unknown(void **state)
{
    (void)state;
    struct phy_tokenizer *t = load(WITH("\"decoder\": null"));
    expect_ids(t, "axb", "2"); /* without an unk_token the neighbours meet, and merge */
    phy_tokenizer_close(&t);
    t = load("{" MODEL("\"vocab\": {\"a\": 0, \"b\": 1, \"u\": 2}, \"merges\": [], \"unk_token\": \"u\"") "}");
    expect_ids(t, "axyb", "0 2 2 1");
    phy_tokenizer_close(&t);
    t = load("{" MODEL(
        "\"vocab\": {\"a\": 0, \"b\": 1, \"u\": 2}, \"merges\": [], \"unk_token\": \"u\", \"fuse_unk\": true") "}");
    expect_ids(t, "axyb", "0 2 1");
    phy_tokenizer_close(&t);
    t = load("{" MODEL(ABC ", \"merges\": [], \"unk_token\": \"u\"") "}");
    struct phy_id_list ids;
    assert_int_equal(phy_tokenizer_encode(t, "ax", 2, NULL, &ids), PHY_ERR_FORMAT);
    assert_non_null(strstr(record.error, "no token for \"x\", and the unk_token \"u\" is not in the vocabulary"));
    phy_tokenizer_close(&t);
}

static void ids_may_have_gaps(void **state)
{
    (void)state;
    struct phy_tokenizer *t = load("{\"added_tokens\": [" ADDED("2147483647", "x") "], " MODEL(
        "\"vocab\": {\"b\": 1000000000, \"a\": 5}, \"merges\": []") "}");
    size_t bytes;
    expect_ids(t, "abx", "5 1000000000 2147483647");
    assert_int_equal(phy_tokenizer_id_limit(t), 2147483648u);
    assert_null(phy_tokenizer_piece(t, 6, &bytes));
    assert_memory_equal(phy_tokenizer_piece(t, 1000000000, &bytes), "b", 1);
    expect_text(t, (const uint32_t[]){6, 5, UINT32_MAX, 1000000000}, 4, (struct phy_decode_params){0}, "a b");
    phy_tokenizer_close(&t);
}

/* n log n: at n^2 a word of four million symbols would take hours. */
static void a_word_of_megabytes_takes_seconds(void **state)
{
    (void)state;
    struct phy_tokenizer *t = load(
        "{" MODEL("\"vocab\": {\"a\": 0, \"aa\": 1, \"aaaa\": 2}, \"merges\": [[\"a\", \"a\"], [\"aa\", \"aa\"]]") "}");
    size_t bytes = (1 << 22) + 3;
    char *text = malloc(bytes);
    memset(text, 'a', bytes);
    struct phy_id_list ids;
    assert_int_equal(phy_tokenizer_encode(t, text, bytes, NULL, &ids), PHY_OK);
    assert_int_equal(ids.count, (1 << 20) + 2); /* aaaa ..., and of the three at the end aa and a */
    assert_int_equal(ids.ids[0], 2);
    assert_int_equal(ids.ids[ids.count - 2], 1);
    assert_int_equal(ids.ids[ids.count - 1], 0);
    phy_id_list_free(&ids);
    free(text);
    phy_tokenizer_close(&t);
}

/* The marks' order is a sort of the whole run. */
static void a_run_of_megabytes_of_marks_takes_seconds(void **state)
{
    (void)state;
    struct phy_tokenizer *t = load("{\"normalizer\": {\"type\": \"NFC\"}, " MODEL(
        "\"vocab\": {\"\\u1eb9\": 0, \"\\u0323\": 1, \"\\u0301\": 2}, \"merges\": []") "}");
    size_t pairs = 1 << 19, bytes = 1 + 4 * pairs;
    char *text = malloc(bytes);
    text[0] = 'e';
    for (size_t i = 0; i < pairs; i++)
        memcpy(text + 1 + 4 * i, "\xCC\x81\xCC\xA3", 4); /* acute above, dot below */
    struct phy_id_list ids;
    assert_int_equal(phy_tokenizer_encode(t, text, bytes, NULL, &ids), PHY_OK);
    assert_int_equal(ids.count, 2 * pairs); /* e and the first dot are one */
    for (size_t i = 0; i < ids.count; i++)
        assert_int_equal(ids.ids[i], i == 0 ? 0 : i < pairs ? 1 : 2);
    phy_id_list_free(&ids);
    free(text);
    phy_tokenizer_close(&t);
}

/* Tokens a, and a^1000 b: a matcher that tries each position anew reads a thousand bytes for each. */
static void added_tokens_are_found_in_linear_time(void **state)
{
    (void)state;
    char json[4096], run[1001];
    memset(run, 'a', 1000);
    run[1000] = 0;
    snprintf(json, sizeof json, WITH("\"added_tokens\": [" ADDED("0", "a") ", " ADDED("3", "%sb") "]"), run);
    struct phy_tokenizer *t = load(json);
    size_t bytes = 1 << 22;
    char *text = malloc(bytes);
    memset(text, 'a', bytes);
    text[bytes - 1] = 'b';
    struct phy_id_list ids;
    assert_int_equal(phy_tokenizer_encode(t, text, bytes, NULL, &ids), PHY_OK);
    assert_int_equal(ids.count, bytes - 1001 + 1);
    assert_int_equal(ids.ids[ids.count - 1], 3);
    phy_id_list_free(&ids);
    free(text);
    phy_tokenizer_close(&t);
}

static void files_cannot_blow_up_a_short_text(void **state)
{
    (void)state;
    char steps[8192] = "{\"normalizer\": {\"type\": \"Sequence\", \"normalizers\": [{\"type\": \"NFC\"}";
    for (int i = 0; i < 40; i++)
        strcat(steps, ", {\"type\": \"Replace\", \"pattern\": {\"String\": \"a\"}, \"content\": \"aa\"}");
    strcat(steps, "]}, " MODEL(ABC ", \"merges\": []") "}");
    struct phy_tokenizer *t = load(steps);
    struct phy_id_list ids;
    assert_int_equal(phy_tokenizer_encode(t, "a", 1, NULL, &ids), PHY_ERR_LIMIT);
    phy_tokenizer_close(&t);
    char *at = strstr(steps, "\"normalizer\"");
    char decoders[9000] = "{\"decoder\": {\"type\": \"Sequence\", \"decoders\": [{\"type\": \"Fuse\"}";
    strcat(decoders, strstr(at, "}, {\"type\": \"Replace\"") + 1);
    t = load(decoders);
    struct phy_decoded decoded;
    assert_int_equal(phy_tokenizer_decode(t, (const uint32_t[]){0}, 1, NULL, &decoded), PHY_ERR_LIMIT);
    assert_int_equal(record.errors, 1);
    phy_tokenizer_close(&t);
}

static bool always(void *user)
{
    (void)user;
    return true;
}

static void a_host_may_stop_a_long_text(void **state)
{
    (void)state;
    struct phy_tokenizer *t = load("{" MODEL("\"vocab\": {\"a\": 0, \"b\": 1, \"aa\": 2}, \"merges\": [\"a a\"]") "}");
    size_t bytes = 1 << 22;
    char *text = malloc(bytes);
    struct phy_id_list ids;
    host.cancelled = always;
    for (unsigned long_words = 0; long_words < 2; long_words++) {
        for (size_t i = 0; i < bytes; i++)
            text[i] = long_words ? 'a' : "aaaaaaab"[i % 8];
        assert_int_equal(phy_tokenizer_encode(t, text, bytes, NULL, &ids), PHY_ERR_INTERRUPTED);
        assert_int_equal(record.errors, 1 + long_words);
    }
    free(text);
    phy_tokenizer_close(&t);
}

/* ---- ids to text ---- */

static void invalid_utf8_becomes_replacement_characters(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"a\xFF"
         "b",
         "a\xEF\xBF\xBD"
         "b"},
        {"\xE2\x96", "\xEF\xBF\xBD"}, /* a maximal subpart is one */
        {"\xE2\x28\xA1", "\xEF\xBF\xBD(\xEF\xBF\xBD"},
        {"\xF0\x9F\x98\xF0", "\xEF\xBF\xBD\xEF\xBF\xBD"},
        {"\xED\xA0\x80", "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD"}, /* half a surrogate pair: no part of it is one */
        {"\xC0\xAF", "\xEF\xBF\xBD\xEF\xBF\xBD"},
        {"\xF4\x90\x80\x80", "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct phy_octets to = {0};
        assert_true(phy_put_lossy(&to, cases[i][0], strlen(cases[i][0])));
        assert_int_equal(to.count, strlen(cases[i][1]));
        assert_memory_equal(to.data, cases[i][1], to.count);
        phy_octets_free(&to);
    }
}

static void byte_tokens_are_utf8_by_the_run_or_not_at_all(void **state)
{
    (void)state;
    struct phy_tokenizer *t = load_file("pieces.tokenizer.json"); /* 2..6: E2 96 CC 81 0A, 7: U+2581, 8: a */
    const struct phy_decode_params text = {0}, raw = {.raw_bytes = true}, skip = {.skip_special = true};
    expect_text(t, (const uint32_t[]){8, 4, 5}, 3, text, "a\xCC\x81");
    expect_text(t, (const uint32_t[]){8, 4, 5, 2, 8}, 5, text,
                "a\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD"
                "a");
    expect_text(t, (const uint32_t[]){8, 4, 5, 2, 8}, 5, raw,
                "a\xCC\x81\xE2"
                "a");
    expect_text(t, (const uint32_t[]){7, 7, 8}, 3, text, " a"); /* one space at the start is stripped */
    expect_text(t, (const uint32_t[]){1, 7, 8}, 3, text, "<s> a");
    expect_text(t, (const uint32_t[]){1, 7, 8}, 3, skip, "a");
    expect_text(t, NULL, 0, text, "");
    phy_tokenizer_close(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(malformed_and_contradictory_files_are_refused_with_a_fact),
        cmocka_unit_test(unsupported_components_are_refused_by_name),
        cmocka_unit_test(deep_nesting_is_malformed_and_long_lists_meet_a_limit),
        cmocka_unit_test(every_truncated_prefix_is_rejected),
        cmocka_unit_test(failed_allocations_are_reported_once_and_leak_nothing),
        cmocka_unit_test(absent_and_unreadable_files_are_io_errors),
        cmocka_unit_test(patterns_are_translated_from_oniguruma),
        cmocka_unit_test(constructs_that_differ_are_refused),
        cmocka_unit_test(patterns_without_end_are_stopped),
        cmocka_unit_test(added_tokens_are_found_longest_first_with_their_spaces),
        cmocka_unit_test(text_that_is_not_utf8_is_refused_with_its_place),
        cmocka_unit_test(characters_without_a_token_vanish_or_are_unknown),
        cmocka_unit_test(ids_may_have_gaps),
        cmocka_unit_test(a_word_of_megabytes_takes_seconds),
        cmocka_unit_test(a_run_of_megabytes_of_marks_takes_seconds),
        cmocka_unit_test(added_tokens_are_found_in_linear_time),
        cmocka_unit_test(files_cannot_blow_up_a_short_text),
        cmocka_unit_test(a_host_may_stop_a_long_text),
        cmocka_unit_test(invalid_utf8_becomes_replacement_characters),
        cmocka_unit_test(byte_tokens_are_utf8_by_the_run_or_not_at_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
