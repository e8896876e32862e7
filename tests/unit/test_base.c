/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include "support/test.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/checked_math.h"
#include "base/log.h"
#include "base/whole_file.h"
#include "physarium/physarium.h"

static void quotes_and_escapes_names(void **state)
{
    (void)state;
    char out[PHY_QUOTED_BYTES];
    assert_string_equal(phy_quote(out, "a\"b\\c", 5), "\"a\\\"b\\\\c\"");
    assert_string_equal(phy_quote(out, "\x1b[31m\n", 6), "\"\\u001b[31m\\u000a\"");
    assert_string_equal(phy_quote(out, "\xff\xe2\x80\xae", 4), "\"\\xff\\u202e\"");
    assert_string_equal(phy_quote(out, "\xed\xa0\x80", 3), "\"\\xed\\xa0\\x80\"");
    assert_string_equal(phy_quote(out, "\xe9\xbb\x84", 3), "\"\xe9\xbb\x84\"");
}

static void cuts_long_names_at_a_character(void **state)
{
    (void)state;
    char name[300], out[PHY_QUOTED_BYTES];
    memset(name, 'x', sizeof name);
    phy_quote(out, name, 128);
    assert_int_equal(strlen(out), 130);
    memcpy(name + 95, "\xc3\xa9", 2); /* the character that would straddle byte 96 is left out */
    phy_quote(out, name, 129);
    assert_int_equal(strspn(out + 1, "x"), 95);
    assert_string_equal(out + 96, "\"...(129 bytes)");
    memset(name, '\x01', sizeof name);
    phy_quote(out, name, 300); /* the longest escapes fit */
    assert_non_null(strstr(out, "\"...(300 bytes)"));
}

static void logs_one_bounded_line(void **state)
{
    (void)state;
    struct log_record record;
    struct phy_host host = recording_host(&record);
    char text[3000];
    memset(text, '\n', sizeof text);
    text[sizeof text - 1] = 0;
    assert_int_equal(phy_fail(&host, PHY_ERR_FORMAT, "%s", text), PHY_ERR_FORMAT);
    assert_int_equal(record.errors, 1);
    assert_true(strlen(record.error) <= 1023);
    assert_null(strchr(record.error, '\n'));
    assert_int_equal(phy_fail(NULL, PHY_ERR_IO, "nobody listens"), PHY_ERR_IO);
}

static void checked_math_refuses_overflow(void **state)
{
    (void)state;
    uint64_t out = 7;
    assert_false(phy_mul_u64(UINT64_C(1) << 32, UINT64_C(1) << 32, &out));
    assert_false(phy_add_u64(UINT64_MAX, 1, &out));
    assert_int_equal(out, 7);
    assert_true(phy_mul_u64(3, 5, &out));
    assert_int_equal(out, 15);
    assert_null(phy_alloc(SIZE_MAX / 2, 3));
    assert_int_equal(phy_ceil_div(UINT64_MAX, 2), UINT64_C(1) << 63);
}

static void maps_every_status_to_an_exit_code(void **state)
{
    (void)state;
    assert_int_equal(phy_status_exit_code(PHY_ERR_UNSUPPORTED), 5);
    assert_int_equal(phy_status_exit_code(PHY_ERR_MEMORY), 6);
    assert_int_equal(phy_status_exit_code(PHY_ERR_INTERRUPTED), 130);
    assert_int_equal(phy_status_exit_code((enum phy_status)999), 1);
    assert_string_equal(phy_status_name(PHY_ERR_MISMATCH), "mismatch");
}

static void fails_the_chosen_allocation(void **state)
{
    (void)state;
    phy_alloc_fail_after(1);
    void *first = phy_alloc(1, 8), *second = phy_alloc(1, 8);
    phy_alloc_fail_after(UINT64_MAX);
    assert_non_null(first);
    assert_null(second);
    phy_free(first);
}

/* ---- whole files ---- */

struct filling {
    const char *directory;
    int error;
    bool has_unnamed; /* the file system has files without a name */
};

static size_t entries_of(const char *directory)
{
    size_t count = 0;
    DIR *d = opendir(directory);
    assert_non_null(d);
    for (const struct dirent *e; (e = readdir(d));)
        count += e->d_name[0] != '.';
    closedir(d);
    return count;
}

static int fill(const void *user, int fd)
{
    const struct filling *f = user;
    if (f->has_unnamed) /* who is killed here leaves nothing */
        assert_int_equal(entries_of(f->directory), 1);
    assert_int_equal(write(fd, "new", 3), 3);
    return f->error;
}

static void writes_a_file_whole_or_not_at_all(void **state)
{
    (void)state;
    char directory[] = "/tmp/physarium-whole-XXXXXX", path[64], found[8] = "";
    assert_non_null(mkdtemp(directory));
    snprintf(path, sizeof path, "%s/file", directory);
    int fd = open(path, O_WRONLY | O_CREAT, 0600), unnamed = open(directory, O_RDWR | O_TMPFILE, 0600);
    assert_int_equal(write(fd, "old", 3), 3);
    close(fd);
    for (int i = 0; i < 2; i++) {
        const struct filling f = {directory, i == 0 ? ENOSPC : 0, unnamed >= 0};
        assert_int_equal(phy_write_whole_file(path, fill, &f, NULL), i == 0 ? PHY_ERR_IO : PHY_OK);
        assert_int_equal(entries_of(directory), 1);
        fd = open(path, O_RDONLY);
        assert_int_equal(read(fd, found, sizeof found), 3);
        close(fd);
        assert_string_equal(found, i == 0 ? "old" : "new");
    }
    if (unnamed >= 0)
        close(unnamed);
    unlink(path);
    assert_int_equal(rmdir(directory), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(quotes_and_escapes_names),
        cmocka_unit_test(cuts_long_names_at_a_character),
        cmocka_unit_test(logs_one_bounded_line),
        cmocka_unit_test(checked_math_refuses_overflow),
        cmocka_unit_test(maps_every_status_to_an_exit_code),
        cmocka_unit_test(fails_the_chosen_allocation),
        cmocka_unit_test(writes_a_file_whole_or_not_at_all),
    };
    return cmocka_run_group_tests_name("base", tests, NULL, NULL);
}
