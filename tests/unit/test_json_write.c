/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include "support/test.h"

#include <errno.h>
#include <locale.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/io.h"
#include "base/json_write.h"

static struct phy_json_writer json;

static char *read_back(int fd)
{
    static char text[1 << 20];
    ssize_t got = pread(fd, text, sizeof text - 1, 0);
    assert_true(got >= 0);
    text[got] = 0;
    return text;
}

static int temporary_file(void)
{
    char path[] = "/tmp/phy-json-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    unlink(path);
    return fd;
}

static void puts_commas_and_escapes_where_they_belong(void **state)
{
    (void)state;
    int fd = temporary_file();
    phy_jsonw_start(&json, fd, false);
    phy_jsonw_open(&json, '{');
    phy_jsonw_key(&json, "a\"\\\n\x01", 5);
    phy_jsonw_string(&json, "x\0y", 3);
    phy_jsonw_member_open(&json, "list", '[');
    phy_jsonw_u64(&json, UINT64_MAX);
    phy_jsonw_raw(&json, "null");
    phy_jsonw_open(&json, '{');
    phy_jsonw_close(&json, '}');
    phy_jsonw_close(&json, ']');
    phy_jsonw_member_bool(&json, "last", true);
    phy_jsonw_close(&json, '}');
    assert_int_equal(phy_jsonw_finish(&json), 0);
    assert_string_equal(read_back(fd), "{\"a\\\"\\\\\\n\\u0001\":\"x\\u0000y\",\"list\":[18446744073709551615,null,{}],"
                                       "\"last\":true}\n");
    close(fd);
}

static void indents_when_asked(void **state)
{
    (void)state;
    int fd = temporary_file();
    phy_jsonw_start(&json, fd, true);
    phy_jsonw_open(&json, '{');
    phy_jsonw_member_text(&json, "a", "b");
    phy_jsonw_member_open(&json, "c", '[');
    phy_jsonw_close(&json, ']');
    phy_jsonw_close(&json, '}');
    assert_int_equal(phy_jsonw_finish(&json), 0);
    assert_string_equal(read_back(fd), "{\n  \"a\": \"b\",\n  \"c\": []\n}\n");
    close(fd);
}

static void writes_more_than_its_buffer(void **state)
{
    (void)state;
    int fd = temporary_file();
    size_t bytes = sizeof json.buffer * 3 + 7;
    char *text = malloc(bytes);
    memset(text, 'q', bytes);
    phy_jsonw_start(&json, fd, false);
    phy_jsonw_string(&json, text, bytes);
    assert_int_equal(phy_jsonw_finish(&json), 0);
    char *back = read_back(fd);
    assert_int_equal(strlen(back), bytes + 3);
    assert_memory_equal(back + 1, text, bytes);
    free(text);
    close(fd);
}

static int no_space(void *user, enum phy_io_call call, int fd, size_t *bytes, uint64_t at)
{
    (void)fd, (void)bytes, (void)at;
    unsigned *calls = user;
    return call == PHY_IO_WRITE && (*calls)++ == 0 ? ENOSPC : 0;
}

static void remembers_the_first_error(void **state)
{
    (void)state;
    int fd = temporary_file();
    unsigned calls = 0;
    char text[1000] = {0};
    phy_io_set_hook(no_space, &calls);
    phy_jsonw_start(&json, fd, false);
    phy_jsonw_open(&json, '[');
    for (int i = 0; i < 200; i++)
        phy_jsonw_string(&json, text, sizeof text);
    phy_jsonw_close(&json, ']');
    assert_int_equal(phy_jsonw_finish(&json), ENOSPC);
    phy_io_set_hook(NULL, NULL);
    assert_int_equal(calls, 1);
    close(fd);
}

static void prints_doubles_that_read_back_exactly(void **state)
{
    (void)state;
    char text[PHY_JSON_NUMBER_BYTES];
    assert_string_equal(phy_jsonw_double(text, (double)1e-5f), "9.999999747378752e-06");
    assert_string_equal(phy_jsonw_double(text, 100000.0), "100000.0");
    assert_string_equal(phy_jsonw_double(text, 0.0), "0.0");
    assert_string_equal(phy_jsonw_double(text, 0.02), "0.02");
    static const double values[] = {1e300, -5e-324, 1.0 / 3, 123456789012345678.0, 1e22, -0.1, 9007199254740993.0};
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++)
        assert_true(strtod(phy_jsonw_double(text, values[i]), NULL) == values[i]);
    if (setlocale(LC_NUMERIC, "de_DE.UTF-8"))
        assert_string_equal(phy_jsonw_double(text, 0.5), "0.5");
    setlocale(LC_NUMERIC, "C");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(puts_commas_and_escapes_where_they_belong),
        cmocka_unit_test(indents_when_asked),
        cmocka_unit_test(writes_more_than_its_buffer),
        cmocka_unit_test(remembers_the_first_error),
        cmocka_unit_test(prints_doubles_that_read_back_exactly),
    };
    return cmocka_run_group_tests_name("json_write", tests, NULL, NULL);
}
