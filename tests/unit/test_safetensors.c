/* SPDX-License-Identifier: Apache-2.0 */
#include "support/checkpoint_build.h"

#include "base/alloc.h"
#include "format/array.h"
#include "format/name_set.h"
#include "format/safetensors.h"

/* Parse header text with data_bytes of data; the log's last error is in `said`. */
static struct log_record said;

static enum phy_status parse_bytes(const unsigned char *bytes, size_t count, struct phy_tensor_table *table)
{
    struct phy_host host = recording_host(&said);
    unsigned char *exact = malloc(count ? count : 1);
    memcpy(exact, bytes, count);
    enum phy_status status = phy_safetensors_parse(table, exact, count, count, "x.st", &host);
    free(exact);
    assert_int_equal(said.errors, status != PHY_OK);
    return status;
}

static enum phy_status parse(const char *header, size_t data_bytes, struct phy_tensor_table *table)
{
    static unsigned char bytes[1 << 20];
    assert_true(strlen(header) + data_bytes + 8 <= sizeof bytes);
    return parse_bytes(bytes, st_bytes(bytes, header, data_bytes), table);
}

static void assert_good(const char *header, size_t data_bytes)
{
    struct phy_tensor_table table;
    if (parse(header, data_bytes, &table) != PHY_OK)
        fail_msg("refused: %s: %s", header, said.error);
    phy_tensor_table_free(&table);
}

/* Refused with the status, and the message holds the words. */
static void assert_refused(const char *header, size_t data_bytes, enum phy_status expected, const char *word,
                           const char *second)
{
    struct phy_tensor_table table;
    enum phy_status status = parse(header, data_bytes, &table);
    if (status != expected)
        fail_msg("%s: %s, expected %s: %s", header, phy_status_name(status), phy_status_name(expected), said.error);
    if (!strstr(said.error, word) || !strstr(said.error, second) || strncmp(said.error, "x.st: ", 6) != 0)
        fail_msg("no %s and %s in: %s", word, second, said.error);
    assert_null(table.rows);
}

#define T_A ST_TENSOR("a", "F32", "[2]", 0, 8)
static const enum phy_status BAD = PHY_ERR_FORMAT;

static void reports_tensors_in_data_order(void **state)
{
    (void)state;
    struct phy_tensor_table table;
    assert_int_equal(
        parse("{" ST_TENSOR("late", "BF16", "[2,3]", 8, 20) ",\"__metadata__\":{\"format\":\"pt\"}," ST_TENSOR(
                  "e\\u006dpty", "U8", "[0]", 8, 8) "," T_A "}  ",
              20, &table),
        PHY_OK);
    assert_int_equal(table.count, 3);
    assert_true(table.has_metadata_format_pt);
    assert_int_equal(table.data_bytes, 20);
    static const char *const names[] = {"a", "empty", "late"};
    static const uint32_t numbers[] = {2, 1, 0};
    for (size_t i = 0; i < 3; i++) {
        assert_string_equal(table.rows[i].name, names[i]);
        assert_int_equal(table.rows[i].header_index, numbers[i]);
    }
    const struct phy_tensor_row *late = &table.rows[2];
    assert_string_equal(late->dtype, "BF16");
    assert_int_equal(late->element_bits, 16);
    assert_int_equal(late->dim_count, 2);
    assert_int_equal(table.dims[late->first_dim], 2);
    assert_int_equal(table.dims[late->first_dim + 1], 3);
    assert_int_equal(late->begin, 8);
    assert_int_equal(late->bytes, 12);
    phy_tensor_table_free(&table);
}

static void checks_the_length_before_it_is_used(void **state)
{
    (void)state;
    static const uint64_t lengths[] = {
        0, 1, 3, 100000000, 100000001, UINT64_C(1) << 32, INT64_MAX, UINT64_MAX - 7, UINT64_MAX};
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        unsigned char bytes[10] = {0, 0, 0, 0, 0, 0, 0, 0, '{', '}'};
        struct phy_tensor_table table;
        phy_store_u64(bytes, lengths[i]);
        assert_int_equal(parse_bytes(bytes, sizeof bytes, &table), PHY_ERR_FORMAT);
        assert_non_null(strstr(said.error, "header"));
    }
    assert_good("{}", 0);
}

static void holds_the_header_to_the_letter(void **state)
{
    (void)state;
    assert_refused(" {}", 0, BAD, "header", "begins with");
    assert_refused("\xef\xbb\xbf{}", 0, BAD, "header", "JSON");
    assert_refused("[]", 0, BAD, "header", "JSON");
    assert_refused("{} x", 0, BAD, "header", "JSON");
    assert_refused("{}{}", 0, BAD, "header", "JSON");
    assert_refused("{", 0, BAD, "header", "length");
    assert_refused("{\"\xff\":1}", 0, BAD, "header", "UTF-8");
    assert_refused("{\"\xed\xa0\x80\":1}", 0, BAD, "header", "UTF-8");
    assert_refused("{" T_A "}\xc2\xa0", 8, BAD, "header", "byte");
    assert_good("{" T_A "}\n\t\r ", 8);
    struct phy_tensor_table table;
    assert_int_equal(parse_bytes((const unsigned char *)"\3\0\0\0\0\0\0\0{}\0", 11, &table), PHY_ERR_FORMAT);
    assert_non_null(strstr(said.error, "header"));
}

static void wants_metadata_to_be_an_object_of_strings(void **state)
{
    (void)state;
    assert_good("{\"__metadata__\":{}}", 0);
    assert_good("{" T_A ",\"__metadata__\":{\"\":\"\",\"\\u0000\":\"\\u0000\"}}", 8);
    static const char *const bad[] = {
        "null",      "[]",           "\"\"",       "1",          "true",
        "{\"a\":1}", "{\"a\":null}", "{\"a\":{}}", "{\"a\":[]}", "{\"a\":\"1\",\"b\":false}"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char header[128];
        snprintf(header, sizeof header, "{\"__metadata__\":%s}", bad[i]);
        assert_refused(header, 0, BAD, "__metadata__", "header");
    }
    assert_refused("{\"__metadata__\":{\"a\":\"1\",\"\\u0061\":\"2\"}}", 0, BAD, "__metadata__", "duplicate");
    assert_refused("{\"__metadata__\":{},\"__met\\u0061data__\":{}}", 0, BAD, "__metadata__", "duplicate");
    /* The same key in two objects is two keys. */
    assert_good("{\"__metadata__\":{\"a\":\"\",\"dtype\":\"\"}," T_A "}", 8);
}

static void wants_exactly_three_keys_of_the_right_kind(void **state)
{
    (void)state;
    static const struct {
        const char *entry, *word;
    } bad[] = {
        {"1", "entry"},
        {"\"F32\"", "entry"},
        {"true", "entry"},
        {"{}", "lacks"},
        {"{\"dtype\":\"U8\",\"shape\":[1]}", "data_offsets"},
        {"{\"dtype\":\"U8\",\"data_offsets\":[0,1]}", "shape"},
        {"{\"shape\":[1],\"data_offsets\":[0,1]}", "dtype"},
        {"{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1],\"Dtype\":\"U8\"}", "\"Dtype\""},
        {"{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1],\"\":1}", "unknown key \"\""},
        {"{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1],\"dtype\\u0000\":1}", "\"dtype\\u0000\""},
        {"{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1],\"sh\\u0061pe\":[1]}", "duplicate key \"shape\""},
        {"{\"dtype\":\"U8\",\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}", "duplicate key \"dtype\""},
        {"{\"dtype\":null,\"shape\":[1],\"data_offsets\":[0,1]}", "dtype"},
        {"{\"dtype\":[\"U8\"],\"shape\":[1],\"data_offsets\":[0,1]}", "dtype"},
        {"{\"dtype\":\"U8\",\"shape\":1,\"data_offsets\":[0,1]}", "shape"},
        {"{\"dtype\":\"U8\",\"shape\":null,\"data_offsets\":[0,1]}", "shape"},
        {"{\"dtype\":\"U8\",\"shape\":{},\"data_offsets\":[0,1]}", "shape"},
        {"{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":{\"0\":0,\"1\":1}}", "data_offsets"},
        {"{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[1]}", "data_offsets has 1"},
        {"{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[]}", "data_offsets has 0"},
        {"{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1,1]}", "data_offsets has 3"},
        {"{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[[0],1]}", "data_offsets"},
        {"{\"dtype\":\"U8\",\"shape\":[\"1\"],\"data_offsets\":[0,1]}", "shape"},
        {"{\"dtype\":\"U8\",\"shape\":[true],\"data_offsets\":[0,1]}", "shape"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char header[256];
        snprintf(header, sizeof header, "{\"m.w\":%s}", bad[i].entry);
        assert_refused(header, 1, BAD, "tensor 0 \"m.w\": ", bad[i].word);
    }
}

static void numbers_tensors_in_header_order_without_metadata(void **state)
{
    (void)state;
    assert_refused("{" T_A ",\"__metadata__\":{}," ST_TENSOR("b", "U8", "[2]", 8, 9) "}", 9, BAD,
                   "tensor 1 \"b\": ", "span 1");
}

static void refuses_numbers_that_readers_could_differ_on(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "-0",
        "-1",
        "1.0",
        "1e0",
        "1E0",
        "0.1",
        "9007199254740992",
        "18446744073709551617",
        "100000000000000000000000000000000000000000000000000000000000000000000000000000000001"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char header[512];
        snprintf(header, sizeof header, "{\"m.w\":{\"dtype\":\"U8\",\"shape\":[%s],\"data_offsets\":[0,1]}}", bad[i]);
        assert_refused(header, 1, BAD, "\"m.w\"", "shape");
        snprintf(header, sizeof header, "{\"m.w\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,%s]}}", bad[i]);
        assert_refused(header, 1, BAD, "\"m.w\"", "data_offsets");
    }
    /* 2^53 - 1 itself is a number, only not one that fits. */
    assert_refused("{" ST_TENSOR("m.w", "U8", "[9007199254740991]", 0, 9007199254740991) "}", 1, BAD, "m.w", "exceed");
}

static void refuses_names_that_are_duplicate_or_hold_nul(void **state)
{
    (void)state;
    assert_refused("{" T_A "," T_A "}", 8, BAD, "tensor 1 \"a\"", "duplicate");
    assert_refused("{" ST_TENSOR("", "U8", "[0]", 0, 0) "," ST_TENSOR("", "U8", "[0]", 0, 0) "}", 0, BAD,
                   "tensor 1 \"\"", "duplicate");
    assert_refused("{" ST_TENSOR("\\u0000", "U8", "[0]", 0, 0) "}", 0, BAD, "\"\\u0000\"", "U+0000");
    assert_good("{" ST_TENSOR("A", "U8", "[0]", 0, 0) "," ST_TENSOR("a", "U8", "[0]", 0, 0) "}", 0);
}

static void tells_unknown_dtypes_and_high_ranks_from_bad_files(void **state)
{
    (void)state;
    static const char *const unknown[] = {"f32", "F32 ", "", "F128", "BF16\\u0000", "Q4_K", "\\u001b[2J"};
    for (size_t i = 0; i < sizeof unknown / sizeof *unknown; i++) {
        char header[256];
        snprintf(header, sizeof header, "{\"m.w\":{\"dtype\":\"%s\",\"shape\":[],\"data_offsets\":[0,4]}}", unknown[i]);
        assert_refused(header, 4, PHY_ERR_UNSUPPORTED, "tensor 0 \"m.w\": ", "dtype");
        assert_null(strchr(said.error, 0x1b));
    }
    assert_refused("{" ST_TENSOR("m.w", "U8", "[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1]", 0, 1) "}", 1, PHY_ERR_LIMIT, "m.w",
                   "17");
    assert_good("{" ST_TENSOR("m.w", "U8", "[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1]", 0, 1) "}", 1);
}

static void multiplies_sizes_without_overflow(void **state)
{
    (void)state;
    static const char *const over[] = {
        "[4294967296,4294967296]",   "[0,4294967296,4294967296]", "[4294967296,0,4294967296]",
        "[4294967296,4294967296,0]", "[9007199254740991,1024]",   "[2,2,2,2,4503599627370496,64]",
        "[1152921504606846,1024]",
    };
    for (size_t i = 0; i < sizeof over / sizeof *over; i++) {
        char header[256];
        snprintf(header, sizeof header, "{\"m.w\":{\"dtype\":\"U8\",\"shape\":%s,\"data_offsets\":[0,0]}}", over[i]);
        assert_refused(header, 0, BAD, "m.w", "overflow");
    }
    /* 2^60 - 1024 one-byte elements are below 2^63 bits; beside a zero they are nothing. */
    assert_good("{" ST_TENSOR("m.w", "U8", "[1125899906842623,1024,0]", 0, 0) "}", 0);
    assert_good("{" ST_TENSOR("m.w", "F4", "[0,3]", 0, 0) "}", 0);
    assert_refused("{" ST_TENSOR("m.w", "F4", "[3]", 0, 2) "}", 2, BAD, "m.w", "whole bytes");
    assert_refused("{" ST_TENSOR("m.w", "F6_E2M3", "[2]", 0, 2) "}", 2, BAD, "m.w", "12 bits");
    assert_good("{" ST_TENSOR("m.w", "F6_E3M2", "[4]", 0, 3) "}", 3);
    assert_refused("{" ST_TENSOR("m.w", "F32", "[2,2]", 0, 12) "}", 12, BAD, "span 12 bytes", "F32 [2, 2] takes 16");
    assert_refused("{" ST_TENSOR("m.w", "U8", "[0]", 0, 1) "}", 1, BAD, "span 1 bytes", "takes 0");
    assert_refused("{" ST_TENSOR("m.w", "U8", "[]", 0, 0) "}", 0, BAD, "span 0 bytes", "takes 1");
    assert_refused("{" ST_TENSOR("m.w", "U8", "[0]", 5, 3) "}", 8, BAD, "m.w", "data_offsets");
}

#define B1(name, begin, end) ST_TENSOR(name, "U8", "[4]", begin, end)
#define E0(name, at) ST_TENSOR(name, "U8", "[0]", at, at)

static void wants_the_data_covered_exactly(void **state)
{
    (void)state;
    assert_good("{" B1("a", 0, 4) "," B1("b", 4, 8) "," E0("x", 0) "," E0("y", 4) "," E0("z", 8) "}", 8);
    assert_refused("{" B1("a", 0, 4) "," E0("x", 2) "}", 4, BAD, "\"x\"", "overlap");
    assert_refused("{" B1("a", 0, 4) "," E0("x", 5) "}", 5, BAD, "\"x\"", "hole of 1 ");
    assert_refused("{" B1("a", 0, 4) "," E0("x", 5) "}", 4, BAD, "\"x\"", "exceed");
    assert_refused("{" E0("x", 9007199254740991) "}", 0, BAD, "\"x\"", "exceed");
    assert_refused("{" B1("a", 1, 5) "}", 5, BAD, "\"a\"", "hole of 1 ");
    assert_refused("{" B1("b", 4, 8) "," B1("a", 3, 7) "," B1("c", 0, 4) "}", 8, BAD, "tensor 1 \"a\"", "overlap");
    assert_refused("{" B1("a", 0, 4) "," B1("b", 0, 4) "}", 4, BAD, "tensor 1 \"b\"", "overlap");
    assert_refused("{" B1("a", 0, 4) "}", 5, BAD, "trailing", "1 ");
    assert_refused("{}", 3, BAD, "trailing", "3 ");
    assert_refused("{" B1("a", 0, 4) "}", 3, BAD, "\"a\"", "exceed");
    assert_refused("{" B1("a", 0, 4) "," B1("b", 4, 8) "}", 3, BAD, "\"a\"", "exceed");
}

static void says_what_else_a_file_is(void **state)
{
    (void)state;
    static const struct {
        const char *bytes, *word;
    } others[] = {
        {"version https://git-lfs.github.com/spec/v1\n", "LFS"},
        {"PK\x03\x04xxxxxxxxxxxx", "ZIP"},
        {"PK", "ZIP"},
        {"GGUF\x03\x01\x01\x01\x01", "GGUF"},
    };
    struct phy_tensor_table table;
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        assert_int_equal(parse_bytes((const unsigned char *)others[i].bytes, strlen(others[i].bytes), &table),
                         PHY_ERR_FORMAT);
        assert_non_null(strstr(said.error, others[i].word));
        assert_non_null(strstr(said.error, "header"));
    }
}

static void reads_a_header_whose_length_looks_like_a_zip(void **state)
{
    (void)state;
    static char header[0x4B50 + 1]; /* little-endian 0x4B50 is "PK" */
    memset(header, ' ', sizeof header - 1);
    memcpy(header, "{}", 2);
    assert_good(header, 0);
}

static const char sample[] = "{\"__metadata__\":{\"format\":\"pt\"}," ST_TENSOR(
    "a\\u00e9", "F32", "[2]", 0, 8) "," ST_TENSOR("b", "BF16", "[1,3]", 8, 14) "," E0("c", 14) "}  ";

static void refuses_every_proper_prefix(void **state)
{
    (void)state;
    unsigned char bytes[512];
    size_t size = st_bytes(bytes, sample, 14);
    struct phy_tensor_table table;
    for (size_t n = 0; n < size; n++)
        assert_int_equal(parse_bytes(bytes, n, &table), PHY_ERR_FORMAT);
    assert_int_equal(parse_bytes(bytes, size, &table), PHY_OK);
    phy_tensor_table_free(&table);
}

static void survives_the_failure_of_any_allocation(void **state)
{
    (void)state;
    /* 40 tensors, so that every array grows at least once, in an order that makes the sort allocate. */
    char header[8192] = "{\"__metadata__\":{\"k\":\"v\"}";
    for (int i = 39; i >= 0; i--)
        snprintf(header + strlen(header), sizeof header - strlen(header),
                 ",\"t%d\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[%d,%d]}", i, i, i + 1);
    strcat(header, "}");
    struct phy_tensor_table table;
    unsigned failed = 0;
    for (uint64_t after = 0;; after++) {
        phy_alloc_fail_after(after);
        enum phy_status status = parse(header, 40, &table);
        phy_alloc_fail_after(UINT64_MAX);
        if (status == PHY_OK)
            break;
        assert_int_equal(status, PHY_ERR_MEMORY);
        assert_null(table.text);
        failed++;
    }
    assert_true(failed >= 8);
    assert_int_equal(table.count, 40);
    phy_tensor_table_free(&table);
}

static int compare_ints(const void *a, const void *b)
{
    int x = *(const int *)a / 10, y = *(const int *)b / 10;
    return (x > y) - (x < y);
}

static void sorts_stably(void **state)
{
    (void)state;
    for (size_t count = 0; count < 70; count++) {
        int items[70] = {0};
        for (size_t i = 0; i < count; i++)
            items[i] = (int)(i * 2654435761u >> 28) * 10 + (int)i % 10; /* the last digit is not compared */
        int before[70];
        memcpy(before, items, sizeof items);
        assert_true(phy_array_sort(items, count, sizeof *items, compare_ints));
        for (size_t i = 1; i < count; i++)
            assert_true(items[i - 1] / 10 <= items[i] / 10);
        for (int key = 0; key < 16; key++) { /* equal ones in their old order */
            size_t at = 0;
            for (size_t i = 0; i < count; i++) {
                if (before[i] / 10 != key)
                    continue;
                while (items[at] / 10 != key)
                    at++;
                assert_int_equal(items[at++], before[i]);
            }
        }
    }
}

static void finds_names_among_many(void **state)
{
    (void)state;
    static char names[5000][8];
    struct phy_name_set set = {0};
    struct phy_name *found;
    assert_null(phy_name_set_find(&set, 0, "x", 1));
    for (unsigned i = 0; i < 5000; i++) {
        int length = snprintf(names[i], sizeof names[i], "%u", i);
        assert_int_equal(phy_name_set_add(&set, i % 2, names[i], (size_t)length, i, &found), PHY_NAME_NEW);
    }
    for (unsigned i = 0; i < 5000; i++) {
        size_t length = strlen(names[i]);
        assert_int_equal(phy_name_set_add(&set, i % 2, names[i], length, 0, &found), PHY_NAME_DUPLICATE);
        assert_int_equal(found->value, i);
        assert_null(phy_name_set_find(&set, 1 - i % 2, names[i], length));
    }
    assert_int_equal(phy_name_set_add(&set, 0, "a\0b", 3, 1, NULL), PHY_NAME_NEW);
    assert_int_equal(phy_name_set_add(&set, 0, "a\0c", 3, 1, NULL), PHY_NAME_NEW);
    assert_int_equal(phy_name_set_add(&set, 0, "a", 1, 1, NULL), PHY_NAME_NEW);
    phy_name_set_free(&set);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reports_tensors_in_data_order),
        cmocka_unit_test(checks_the_length_before_it_is_used),
        cmocka_unit_test(holds_the_header_to_the_letter),
        cmocka_unit_test(wants_metadata_to_be_an_object_of_strings),
        cmocka_unit_test(wants_exactly_three_keys_of_the_right_kind),
        cmocka_unit_test(numbers_tensors_in_header_order_without_metadata),
        cmocka_unit_test(refuses_numbers_that_readers_could_differ_on),
        cmocka_unit_test(refuses_names_that_are_duplicate_or_hold_nul),
        cmocka_unit_test(tells_unknown_dtypes_and_high_ranks_from_bad_files),
        cmocka_unit_test(multiplies_sizes_without_overflow),
        cmocka_unit_test(wants_the_data_covered_exactly),
        cmocka_unit_test(says_what_else_a_file_is),
        cmocka_unit_test(reads_a_header_whose_length_looks_like_a_zip),
        cmocka_unit_test(refuses_every_proper_prefix),
        cmocka_unit_test(survives_the_failure_of_any_allocation),
        cmocka_unit_test(sorts_stably),
        cmocka_unit_test(finds_names_among_many),
    };
    return cmocka_run_group_tests_name("safetensors", tests, NULL, NULL);
}
