/* SPDX-License-Identifier: Apache-2.0 */
#include "support/test.h"

#include "base/alloc.h"
#include "format/gguf.h"
#include "support/gguf_build.h"

static struct gguf_build b;

static enum phy_status open_built(struct phy_gguf **gguf, size_t bytes, struct log_record *record)
{
    static struct phy_host host;
    host = recording_host(record);
    struct phy_gguf_source source = phy_gguf_source_memory(b.bytes, bytes);
    return phy_gguf_open(gguf, &source, "m.gguf", &host);
}

static void refuses(enum phy_status expected, const char *mention)
{
    struct log_record record;
    struct phy_gguf *gguf;
    assert_int_equal(open_built(&gguf, b.used, &record), expected);
    assert_null(gguf);
    assert_int_equal(record.errors, 1);
    if (!strstr(record.error, mention))
        fail_msg("'%s' does not say '%s'", record.error, mention);
}

/* Two keys, two tensors; returns the bytes up to the last tensor's end. */
static size_t build_plain(void)
{
    put_head(&b, 2, 2);
    put_key(&b, "general.architecture", PHY_GGUF_STRING);
    put_string(&b, "llama");
    put_key(&b, "a.list", PHY_GGUF_ARRAY);
    put_u32(&b, PHY_GGUF_STRING);
    put_u64(&b, 2);
    put_string(&b, "x");
    put_string(&b, "");
    put_tensor(&b, "a.weight", 2, (uint64_t[]){32, 2}, 2, 0);
    put_tensor(&b, "b.weight", 1, (uint64_t[]){5}, 0, 64);
    put_padding(&b, 32);
    put_data(&b, 64 + 20);
    return b.used;
}

static void reads_tensors_and_keys_of_a_plain_file(void **state)
{
    (void)state;
    build_plain();
    struct log_record record;
    struct phy_gguf *gguf;
    assert_int_equal(open_built(&gguf, b.used, &record), PHY_OK);
    assert_int_equal(record.warnings, 0);
    assert_int_equal(phy_gguf_tensor_count(gguf), 2);
    struct phy_gguf_tensor t;
    phy_gguf_tensor(gguf, 1, &t);
    assert_string_equal(t.name, "b.weight");
    assert_string_equal(t.type_name, "F32");
    assert_int_equal(t.at, phy_gguf_data_start(gguf) + 64);
    assert_int_equal(t.bytes, 20);
    size_t index;
    assert_true(phy_gguf_find_tensor(gguf, "a.weight", &index));
    phy_gguf_tensor(gguf, index, &t);
    assert_int_equal(t.bytes, 36);
    assert_false(phy_gguf_find_tensor(gguf, "a.weigh", &index));
    assert_true(phy_gguf_find_key(gguf, "a.list", &index));
    struct phy_gguf_strings strings;
    assert_int_equal(phy_gguf_load_strings(gguf, index, 1000, &strings), PHY_OK);
    assert_int_equal(strings.count, 2);
    assert_string_equal(phy_gguf_string(&strings, 0, NULL), "x");
    assert_string_equal(phy_gguf_string(&strings, 1, NULL), "");
    phy_gguf_strings_free(&strings);
    assert_int_equal(phy_gguf_load_strings(gguf, index, 3, &strings), PHY_ERR_LIMIT);
    phy_gguf_close(&gguf);
}

static void rejects_every_proper_prefix(void **state)
{
    (void)state;
    size_t whole = build_plain();
    for (size_t bytes = 0; bytes < whole; bytes++) {
        struct log_record record;
        struct phy_gguf *gguf;
        assert_int_equal(open_built(&gguf, bytes, &record), PHY_ERR_FORMAT);
        assert_int_equal(record.errors, 1);
    }
}

static void converts_scalars_of_every_type_and_refuses_the_wrong_kind(void **state)
{
    (void)state;
    put_head(&b, 0, 7);
    put_key(&b, "i8", PHY_GGUF_I8);
    put_raw(&b, "\xff", 1);
    put_key(&b, "u16", PHY_GGUF_U16);
    put_raw(&b, "\xff\xff", 2);
    put_key(&b, "f32", PHY_GGUF_F32);
    put_u32(&b, 0x3F000000);
    put_key(&b, "bool", PHY_GGUF_BOOL);
    put_raw(&b, "\1", 1);
    put_key(&b, "u64", PHY_GGUF_U64);
    put_u64(&b, UINT64_MAX);
    put_key(&b, "f64", PHY_GGUF_F64);
    put_u64(&b, 0x3FD0000000000000);
    put_key(&b, "i32s", PHY_GGUF_ARRAY);
    put_u32(&b, PHY_GGUF_I32);
    put_u64(&b, 2);
    put_u32(&b, 7);
    put_u32(&b, UINT32_MAX);
    struct log_record record;
    struct phy_gguf *g;
    assert_int_equal(open_built(&g, b.used, &record), PHY_OK);
    uint64_t u;
    int64_t s, list[2];
    double d;
    bool flag;
    assert_false(phy_gguf_get_u64(g, 0, &u));
    assert_true(phy_gguf_get_i64(g, 0, &s) && s == -1);
    assert_true(phy_gguf_get_u64(g, 1, &u) && u == 65535);
    assert_true(phy_gguf_get_f64(g, 2, &d) && d == 0.5);
    assert_false(phy_gguf_get_u64(g, 2, &u));
    assert_true(phy_gguf_get_bool(g, 3, &flag) && flag);
    assert_false(phy_gguf_get_u64(g, 3, &u));
    assert_true(phy_gguf_get_u64(g, 4, &u) && u == UINT64_MAX);
    assert_false(phy_gguf_get_i64(g, 4, &s));
    assert_true(phy_gguf_get_f64(g, 5, &d) && d == 0.25);
    assert_int_equal(phy_gguf_load_i64(g, 6, 0, 2, list), PHY_OK);
    assert_true(list[0] == 7 && list[1] == -1);
    assert_int_equal(phy_gguf_load_i64(g, 5, 0, 1, list), PHY_ERR_FORMAT);
    phy_gguf_close(&g);
}

static void warns_of_trailing_bytes_beyond_the_padding_only(void **state)
{
    (void)state;
    build_plain();
    put_padding(&b, 32);
    struct log_record record;
    struct phy_gguf *gguf;
    assert_int_equal(open_built(&gguf, b.used, &record), PHY_OK);
    assert_int_equal(record.warnings, 0);
    phy_gguf_close(&gguf);
    b.bytes[b.used++] = 1;
    assert_int_equal(open_built(&gguf, b.used, &record), PHY_OK);
    assert_int_equal(record.warnings, 1);
    assert_non_null(strstr(record.warning, "1 trailing"));
    phy_gguf_close(&gguf);
}

static void rejects_lengths_and_counts_that_wrap(void **state)
{
    (void)state;
    put_head(&b, 1, 0);
    put_tensor(&b, "w", 2, (uint64_t[]){UINT64_C(1) << 32, UINT64_C(1) << 32}, 0, 0);
    put_padding(&b, 32);
    refuses(PHY_ERR_FORMAT, "tensor 0 \"w\": number of elements overflow");
    put_head(&b, 1, 0);
    put_tensor(&b, "w", 2, (uint64_t[]){0, UINT64_C(1) << 63}, 0, 0);
    refuses(PHY_ERR_FORMAT, "dimension 1 is 9223372036854775808");
    put_head(&b, 0, 1);
    put_u64(&b, UINT64_MAX);
    put_data(&b, 40);
    refuses(PHY_ERR_FORMAT, "key 0: name of 18446744073709551615 bytes");
    put_head(&b, 0, 1);
    put_key(&b, "k", PHY_GGUF_ARRAY);
    put_u32(&b, PHY_GGUF_F64);
    put_u64(&b, UINT64_C(1) << 61);
    refuses(PHY_ERR_FORMAT, "key 0 \"k\": array of 2305843009213693952 f64 elements exceeds");
    put_head(&b, UINT64_C(1) << 60, 0);
    refuses(PHY_ERR_FORMAT, "header: tensor_count 1152921504606846976");
    put_head(&b, 2, 0);
    put_tensor(&b, "a", 1, (uint64_t[]){UINT64_C(1) << 60}, 0, 0);
    put_tensor(&b, "b", 1, (uint64_t[]){1}, 0, UINT64_C(1) << 62);
    put_padding(&b, 32);
    refuses(PHY_ERR_FORMAT, "tensor 0 \"a\": 4611686018427387904 bytes at ");
}

static void rejects_a_bool_in_an_array_that_is_two(void **state)
{
    (void)state;
    put_head(&b, 0, 1);
    put_key(&b, "flags", PHY_GGUF_ARRAY);
    put_u32(&b, PHY_GGUF_BOOL);
    put_u64(&b, 3);
    put_raw(&b, "\1\0\2", 3);
    refuses(PHY_ERR_FORMAT, "key 0 \"flags\": bool 2 is 2");
}

static void finds_duplicates_among_many_names_in_linear_time(void **state)
{
    (void)state;
    enum { COUNT = 1500 };
    put_head(&b, COUNT + 1, 0);
    for (unsigned i = 0; i <= COUNT; i++) {
        char name[16];
        snprintf(name, sizeof name, "t%u", i == COUNT ? 700 : i);
        put_tensor(&b, name, 1, (uint64_t[]){0}, 0, 0);
    }
    put_padding(&b, 32);
    refuses(PHY_ERR_FORMAT, "tensor 1500 \"t700\": duplicate of tensor 700");
}

static void survives_every_allocation_failure(void **state)
{
    (void)state;
    build_plain();
    for (uint64_t after = 0;; after++) {
        struct log_record record;
        struct phy_gguf *gguf;
        phy_alloc_fail_after(after);
        enum phy_status status = open_built(&gguf, b.used, &record);
        phy_alloc_fail_after(UINT64_MAX);
        if (status == PHY_OK) {
            phy_gguf_close(&gguf);
            assert_true(after > 5);
            return;
        }
        assert_int_equal(status, PHY_ERR_MEMORY);
        assert_null(gguf);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_tensors_and_keys_of_a_plain_file),
        cmocka_unit_test(rejects_every_proper_prefix),
        cmocka_unit_test(converts_scalars_of_every_type_and_refuses_the_wrong_kind),
        cmocka_unit_test(warns_of_trailing_bytes_beyond_the_padding_only),
        cmocka_unit_test(rejects_lengths_and_counts_that_wrap),
        cmocka_unit_test(rejects_a_bool_in_an_array_that_is_two),
        cmocka_unit_test(finds_duplicates_among_many_names_in_linear_time),
        cmocka_unit_test(survives_every_allocation_failure),
    };
    return cmocka_run_group_tests_name("gguf", tests, NULL, NULL);
}
