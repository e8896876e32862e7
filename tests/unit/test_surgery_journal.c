/* SPDX-License-Identifier: Apache-2.0 */
#include "support/test.h"

#include <fcntl.h>

#include "support/donor.h"
#include "surgery/identity.h"
#include "surgery/journal.h"
#include "surgery/results.h"

struct seen {
    unsigned count;
    uint32_t types[8];
    size_t bytes[8];
    int stop_at; /* refuse this record; -1: none */
};

static int remember(void *user, uint32_t type, const void *payload, size_t bytes)
{
    struct seen *seen = user;
    if ((int)seen->count == seen->stop_at)
        return 1;
    for (size_t i = 0; i < bytes; i++)
        assert_int_equal(((const unsigned char *)payload)[i], (unsigned char)(type + i));
    seen->types[seen->count] = type;
    seen->bytes[seen->count++] = bytes;
    return 0;
}

static void append(struct phy_journal *journal, uint32_t type, size_t bytes)
{
    struct phy_bytes payload = {0};
    for (size_t i = 0; i < bytes; i++) {
        unsigned char byte = (unsigned char)(type + i);
        phy_bytes_add(&payload, &byte, 1);
    }
    assert_int_equal(phy_journal_append(journal, type, &payload), 0);
    phy_bytes_free(&payload);
}

static int setup(void **state)
{
    char *folder = malloc(64);
    donor_enter_folder(folder);
    *state = folder;
    int fd = open("whole", O_RDWR | O_CREAT, 0666);
    struct phy_journal journal = {.fd = fd};
    append(&journal, 1, 20);
    append(&journal, 2, 0);
    append(&journal, 3, 300);
    close(fd);
    return 0;
}

static int teardown(void **state)
{
    donor_leave_folder(*state);
    free(*state);
    return 0;
}

static struct seen replay(const unsigned char *data, size_t bytes, uint64_t *end, int stop_at)
{
    struct seen seen = {.stop_at = stop_at};
    struct phy_journal journal;
    struct stat file;
    donor_write("copy", data, bytes);
    int fd = open("copy", O_RDWR);
    assert_int_equal(phy_journal_replay(&journal, fd, remember, &seen), 0);
    assert_int_equal(fstat(fd, &file), 0);
    assert_int_equal(file.st_size, journal.end); /* what was torn is cut off */
    append(&journal, 9, 5);                      /* and the next record stands where it was */
    struct seen again = {.stop_at = -1};
    assert_int_equal(phy_journal_replay(&journal, fd, remember, &again), 0);
    assert_int_equal(again.count, seen.count + 1);
    assert_int_equal(again.types[seen.count], 9);
    close(fd);
    *end = journal.end;
    return seen;
}

/* Record sizes with their 16 bytes of frame. */
static const size_t ends[] = {36, 52, 368};

static void drops_a_record_that_is_cut_anywhere(void **state)
{
    (void)state;
    size_t bytes;
    uint64_t end;
    unsigned char *data = donor_read("whole", &bytes);
    assert_int_equal(bytes, ends[2]);
    for (size_t cut = 0; cut <= bytes; cut++) {
        struct seen seen = replay(data, cut, &end, -1);
        int whole = (cut >= ends[0]) + (cut >= ends[1]) + (cut >= ends[2]);
        assert_int_equal(seen.count, whole);
    }
    free(data);
}

static void drops_a_record_with_any_byte_changed_and_what_follows(void **state)
{
    (void)state;
    size_t bytes;
    uint64_t end;
    unsigned char *data = donor_read("whole", &bytes);
    for (size_t at = 0; at < bytes; at++) {
        data[at] ^= 0x40;
        struct seen seen = replay(data, bytes, &end, -1);
        assert_int_equal(seen.count, (at >= ends[0]) + (at >= ends[1]));
        data[at] ^= 0x40;
    }
    free(data);
}

static void stops_at_a_record_that_its_reader_refuses(void **state)
{
    (void)state;
    size_t bytes;
    uint64_t end;
    unsigned char *data = donor_read("whole", &bytes);
    assert_int_equal(replay(data, bytes, &end, 1).count, 1);
    free(data);
}

static void results_come_back_from_their_records(void **state)
{
    (void)state;
    struct phy_results *before, *after;
    struct phy_bytes payload = {0};
    assert_int_equal(phy_results_open(&before, 5, 3, NULL), PHY_OK);
    assert_int_equal(phy_results_open(&after, 5, 3, NULL), PHY_OK);
    struct phy_target target = {.tensor = 2};
    struct phy_unit unit = {.kind = PHY_UNIT_FLOW, .rows = 300, .cols = 256, .target = 0};
    struct phy_flow_tile_result tiles[2] = {{.killed = 100, .zero_before = 3}, {.killed = 11264}};
    before->shard = 1;
    before->at = 77;
    before->prefix_xxh3 = 99;
    before->shards[1].seconds = 1.5;
    phy_results_device(before, "cpu:ref", "slow");
    phy_results_add_tiles(before, &target, &unit, tiles, 256);
    phy_results_write(before, &payload);
    assert_true(phy_results_read(after, payload.data, payload.bytes));
    phy_bytes_free(&payload);
    before->tensors[3].xxh3 = 5;
    phy_results_touch(before, 3);
    before->at = 78;
    phy_results_write(before, &payload);
    assert_true(phy_results_read(after, payload.data, payload.bytes));
    assert_int_equal(after->at, 78);
    assert_int_equal(after->tensors[2].killed, 11364);
    assert_int_equal(after->tensors[2].processed, 300 * 256);
    assert_int_equal(after->tensors[2].zero_before, 3);
    assert_true(after->tensors[2].tile_max == 1.0);
    assert_int_equal(after->tensors[3].xxh3, 5);
    assert_string_equal(after->devices[0].description, "slow");
    const struct phy_tile_choice *a = phy_results_choose_tile(before), *b = phy_results_choose_tile(after);
    assert_non_null(a);
    assert_non_null(b); /* member by member: the struct ends in padding */
    assert_true(a->row == b->row && a->col == b->col && a->target == b->target);
    assert_true(a->cells == b->cells && a->killed == b->killed);
    for (size_t cut = 0; cut < 100; cut++) /* what is cut short is refused, not read past its end */
        assert_false(phy_results_read(after, payload.data, cut));
    phy_bytes_free(&payload);
    phy_results_close(&before);
    phy_results_close(&after);
}

static void says_how_two_runs_differ(void **state)
{
    (void)state;
    char out[200];
    const char *here = "{\n\"version\": \"1\",\n\"gain\": \"5\",\n\"kind\": \"file\"\n}\n";
    assert_false(phy_identity_differs(here, here, out, sizeof out));
    assert_true(phy_identity_differs("{\n\"version\": \"1\",\n\"gain\": \"4\",\n\"kind\": \"file\"\n}\n", here, out,
                                     sizeof out));
    assert_string_equal(out, "gain is 4 there and 5 here");
    assert_true(phy_identity_differs("{\n\"version\": \"1\",\n\"kind\": \"file\"\n}\n", here, out, sizeof out));
    assert_string_equal(out, "gain is not given there and 5 here");
    assert_true(
        phy_identity_differs("{\n\"version\": \"1\",\n\"gain\": \"5\",\n\"layers\": \"0-3\",\n\"kind\": \"file\"\n}\n",
                             here, out, sizeof out));
    assert_string_equal(out, "layers is 0-3 there and not given here");
    assert_true(phy_identity_differs("", here, out, sizeof out));
    assert_true(phy_identity_differs("\"\": \"", here, out, sizeof out));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(drops_a_record_that_is_cut_anywhere),
        cmocka_unit_test(drops_a_record_with_any_byte_changed_and_what_follows),
        cmocka_unit_test(stops_at_a_record_that_its_reader_refuses),
        cmocka_unit_test(results_come_back_from_their_records),
        cmocka_unit_test(says_how_two_runs_differ),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
