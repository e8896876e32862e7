/* SPDX-License-Identifier: Apache-2.0 */
#include "support/test.h"

#include <stdlib.h>

#include "format/json_scan.h"

/* Scan a copy of the text to its end; the kind of the last token, whose position goes to *at. */
static enum phy_json_kind scan_bytes(const char *text, size_t bytes, size_t *at)
{
    char *copy = malloc(bytes ? bytes : 1); /* exactly as long, so that a sanitizer sees a read beyond it */
    struct phy_json_scan scan;
    struct phy_json_token token;
    memcpy(copy, text, bytes);
    phy_json_begin(&scan, copy, bytes);
    enum phy_json_kind kind;
    do
        kind = phy_json_next(&scan, &token);
    while (kind != PHY_JSON_END && kind != PHY_JSON_ERROR);
    if (at)
        *at = token.at;
    assert_int_equal(phy_json_next(&scan, &token), kind); /* both stay */
    free(copy);
    return kind;
}

static void assert_good(const char *text)
{
    if (scan_bytes(text, strlen(text), NULL) != PHY_JSON_END)
        fail_msg("refused: %s", text);
}

static void assert_bad(const char *text, size_t where)
{
    size_t at;
    if (scan_bytes(text, strlen(text), &at) != PHY_JSON_ERROR)
        fail_msg("accepted: %s", text);
    if (at != where)
        fail_msg("%s: error at byte %zu, expected %zu", text, at, where);
}

static void accepts_what_the_grammar_allows(void **state)
{
    (void)state;
    static const char *const good[] = {
        "0",
        "-0",
        "-1.5e+10",
        "1E5",
        "0.000",
        "true",
        " null\t\r\n",
        "\"\"",
        "[]",
        "{}",
        "[[],{}]",
        "{\"\":0}",
        "{\"a\":[1,2,{\"b\":false}],\"c\":\"\\u0000\"}",
        "[ 1 , 2 ]",
        "{ \"a\" : 1 , \"b\" : 2 }",
        "\"\x7f\"",
        "\"\\uDBFF\\uDFFF\"",
    };
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        assert_good(good[i]);
}

static void refuses_what_it_does_not_and_says_where(void **state)
{
    (void)state;
    assert_bad("", 0);
    assert_bad(" ", 1);
    assert_bad("[1,]", 3);
    assert_bad("[,1]", 1);
    assert_bad("[1 2]", 3);
    assert_bad("[1}", 2);
    assert_bad("{\"a\":1]", 6);
    assert_bad("{\"a\":1,}", 7);
    assert_bad("{,}", 1);
    assert_bad("{\"a\" 1}", 5);
    assert_bad("{\"a\":}", 5);
    assert_bad("{\"a\"", 4);
    assert_bad("{a:1}", 1);
    assert_bad("{'a':1}", 1);
    assert_bad("{1:1}", 1);
    assert_bad("01", 0);
    assert_bad("-", 1);
    assert_bad("-a", 1);
    assert_bad("+1", 0);
    assert_bad(".5", 0);
    assert_bad("1.", 2);
    assert_bad("1.e5", 2);
    assert_bad("1e", 2);
    assert_bad("1e+", 3);
    assert_bad("0x10", 1);
    assert_bad("1_000", 1);
    assert_bad("NaN", 0);
    assert_bad("Infinity", 0);
    assert_bad("tru", 0);
    assert_bad("truex", 4);
    assert_bad("True", 0);
    assert_bad("{} {}", 3);
    assert_bad("[] //", 3);
    assert_bad("/**/[]", 0);
    assert_bad("\xef\xbb\xbf{}", 0);
    assert_bad("\"a", 2);
    assert_bad("\"a\nb\"", 2);
    assert_bad("\"\x1f\"", 1);
    assert_bad("\"\\x41\"", 1);
    assert_bad("\"\\u12G4\"", 1);
    assert_bad("\"\\u123\"", 1);
    assert_bad("\"\\U0041\"", 1);
    assert_bad("\"\\", 1);
    assert_bad("\"\\u", 1);
    assert_bad("\"\\ud83d\"", 1);
    assert_bad("\"\\ud83dx\"", 1);
    assert_bad("\"\\ud83d\\n\"", 1);
    assert_bad("\"\\ud83d\\u0041\"", 1);
    assert_bad("\"\\ud83d\\ud83d\"", 1);
    assert_bad("\"\\ude00\"", 1);
    assert_bad("[\v1]", 1);
    assert_bad("[\f]", 1);
    assert_bad("[\xc2\xa0]", 1);
    size_t at;
    assert_int_equal(scan_bytes("{}\0", 3, &at), PHY_JSON_ERROR);
    assert_int_equal(at, 2);
    assert_int_equal(scan_bytes("\"a\0b\"", 5, &at), PHY_JSON_ERROR);
    assert_int_equal(at, 2);
}

static void refuses_every_prefix_of_an_object(void **state)
{
    (void)state;
    static const char text[] = "{\"a\\u00e9\\ud83d\\ude00\":[1.5e-3,true,null,{\"b\":\"\\\\\"}],\"c\":{}}";
    for (size_t n = 0; n < sizeof text - 1; n++)
        assert_int_equal(scan_bytes(text, n, NULL), PHY_JSON_ERROR);
    assert_int_equal(scan_bytes(text, sizeof text - 1, NULL), PHY_JSON_END);
}

static void decodes_escapes_in_place(void **state)
{
    (void)state;
    char text[] = "[\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u0041\\u00e9\\u20AC\\ud83d\\ude00z\", \"\\u0000\", \"plain\"]";
    static const char decoded[] = "\"\\/\b\f\n\r\tA\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80z";
    struct phy_json_scan scan;
    struct phy_json_token token;
    phy_json_begin(&scan, text, strlen(text));
    assert_int_equal(phy_json_next(&scan, &token), PHY_JSON_ARRAY);
    assert_int_equal(phy_json_next(&scan, &token), PHY_JSON_STRING);
    assert_int_equal(token.at, 1);
    assert_int_equal(token.bytes, sizeof decoded - 1);
    assert_string_equal(token.text, decoded);
    assert_int_equal(phy_json_next(&scan, &token), PHY_JSON_STRING);
    assert_int_equal(token.bytes, 1);
    assert_int_equal(token.text[0], 0);
    assert_int_equal(phy_json_next(&scan, &token), PHY_JSON_STRING);
    assert_true(phy_json_is(&token, "plain"));
    assert_false(phy_json_is(&token, "plai"));
    assert_int_equal(phy_json_next(&scan, &token), PHY_JSON_ARRAY_END);
    assert_int_equal(phy_json_next(&scan, &token), PHY_JSON_END);
}

static bool whole(const char *text, uint64_t *out)
{
    char copy[64];
    struct phy_json_scan scan;
    struct phy_json_token token;
    snprintf(copy, sizeof copy, "%s", text);
    phy_json_begin(&scan, copy, strlen(copy));
    assert_int_not_equal(phy_json_next(&scan, &token), PHY_JSON_ERROR);
    return phy_json_whole_number(&token, out);
}

static void takes_whole_numbers_below_2_53_only(void **state)
{
    (void)state;
    uint64_t value = 7;
    static const char *const bad[] = {"-0",
                                      "-1",
                                      "1.0",
                                      "1e3",
                                      "1E0",
                                      "9007199254740992",
                                      "9007199254740993",
                                      "10000000000000000",
                                      "18446744073709551616",
                                      "\"1\"",
                                      "true",
                                      "null",
                                      "[]"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(whole(bad[i], &value));
    assert_int_equal(value, 7);
    assert_true(whole("9007199254740991", &value));
    assert_int_equal(value, (UINT64_C(1) << 53) - 1);
    assert_true(whole("0", &value));
    assert_int_equal(value, 0);
}

static void follows_nesting_without_the_stack_up_to_its_limit(void **state)
{
    (void)state;
    struct phy_json_scan scan;
    struct phy_json_token token;
    char text[2 * PHY_JSON_DEPTH + 2];
    for (size_t extra = 0; extra < 2; extra++) {
        size_t depth = PHY_JSON_DEPTH + extra;
        for (size_t i = 0; i < depth; i++) {
            text[i] = '[';
            text[2 * depth - 1 - i] = ']';
        }
        phy_json_begin(&scan, text, 2 * depth);
        enum phy_json_kind kind;
        do
            kind = phy_json_next(&scan, &token);
        while (kind != PHY_JSON_END && kind != PHY_JSON_ERROR);
        assert_int_equal(kind, extra ? PHY_JSON_ERROR : PHY_JSON_END);
        assert_int_equal(token.too_deep, extra);
    }
}

static void keeps_arrays_and_objects_apart_when_they_alternate(void **state)
{
    (void)state;
    assert_good("[{\"a\":[{\"b\":[{}]}]},[[{}]]]");
    assert_bad("[{\"a\":[{\"b\":[{]]}]}", 14);
    assert_bad("{\"a\":[\"b\":1]}", 9);
    assert_bad("[1,{\"a\":2},3}", 12);
}

static void finds_the_first_byte_that_is_not_utf8(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        size_t end;
    } cases[] = {
        {"plain ascii text, longer than eight bytes", 41},
        {"caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80 \xef\xbf\xbf \xf4\x8f\xbf\xbf", 23},
        {"0123456789\x80", 10},
        {"abc\xc0\x80", 3},
        {"abc\xc1\xbf", 3},
        {"\xe0\x9f\xbf", 0},
        {"a\xed\xa0\x80", 1},
        {"\xf0\x8f\xbf\xbf", 0},
        {"\xf4\x90\x80\x80", 0},
        {"\xf5\x80\x80\x80", 0},
        {"12345678\xe2\x82", 8},
        {"\xff", 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_int_equal(phy_json_utf8_end(cases[i].text, strlen(cases[i].text)), cases[i].end);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(accepts_what_the_grammar_allows),
        cmocka_unit_test(refuses_what_it_does_not_and_says_where),
        cmocka_unit_test(refuses_every_prefix_of_an_object),
        cmocka_unit_test(decodes_escapes_in_place),
        cmocka_unit_test(takes_whole_numbers_below_2_53_only),
        cmocka_unit_test(follows_nesting_without_the_stack_up_to_its_limit),
        cmocka_unit_test(keeps_arrays_and_objects_apart_when_they_alternate),
        cmocka_unit_test(finds_the_first_byte_that_is_not_utf8),
    };
    return cmocka_run_group_tests_name("json_scan", tests, NULL, NULL);
}
