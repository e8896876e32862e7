/* SPDX-License-Identifier: Apache-2.0 */
#include "support/test.h"

#include <fcntl.h>
#include <limits.h>
#include <sys/wait.h>

#include "support/donor.h"
#include "surgery/output_dir.h"

static struct log_record record;
static struct phy_host host;

/* donor/model.safetensors, link -> donor, other/, single.safetensors */
static int setup(void **state)
{
    char *folder = malloc(64);
    static const struct donor_tensor tensor = {"a", "F32", 2, 2};
    donor_enter_folder(folder);
    *state = folder;
    assert_int_equal(mkdir("donor", 0777), 0);
    assert_int_equal(mkdir("donor/inner", 0777), 0);
    assert_int_equal(mkdir("other", 0777), 0);
    assert_int_equal(symlink("donor", "link"), 0);
    assert_int_equal(symlink("../donor/inner", "other/way-in"), 0);
    assert_int_equal(symlink("nowhere", "dangling"), 0);
    donor_write_safetensors("donor/model.safetensors", &tensor, 1, 1, 0);
    donor_write_safetensors("single.safetensors", &tensor, 1, 1, 0);
    assert_int_equal(link("single.safetensors", "hard.safetensors"), 0);
    host = recording_host(&record);
    return 0;
}

static int teardown(void **state)
{
    donor_leave_folder(*state);
    free(*state);
    return 0;
}

/* check and begin; the lock is released again. */
static enum phy_status try_output(const char *path, const char *donor, bool single, bool force)
{
    struct phy_output out;
    host = recording_host(&record);
    enum phy_status status = phy_output_check(
        &out,
        &(struct phy_output_params){
            .path = path, .single_file = single, .force = force, .protect = &donor, .protect_count = 1, .host = &host});
    if (status != PHY_OK)
        return status;
    status = phy_output_begin(&out);
    if (status == PHY_OK)
        phy_output_discard(&out);
    phy_output_close(&out);
    return status;
}

static void assert_refused(const char *path, const char *donor, bool single, bool force, const char *because)
{
    struct stat there;
    assert_int_equal(try_output(path, donor, single, force), PHY_ERR_USAGE);
    assert_int_equal(record.errors, 1);
    if (!strstr(record.error, because))
        fail_msg("%s: \"%s\" does not say \"%s\"", path, record.error, because);
    assert_int_not_equal(stat(".out.physarium-partial", &there), 0);
}

static void refuses_the_donor_itself_by_any_way(void **state)
{
    (void)state;
    for (int force = 0; force < 2; force++) {
        assert_refused("donor", "donor", false, force, "is what is read");
        assert_refused("donor///", "donor", false, force, "is what is read");
        assert_refused("link", "donor", false, force, "is what is read");
        assert_refused("donor", "link/", false, force, "is what is read");
        assert_refused("other/../donor", "donor", false, force, "is what is read");
        assert_refused("single.safetensors", "./single.safetensors", true, force, "is what is read");
    }
}

static void refuses_an_output_inside_the_donor(void **state)
{
    (void)state;
    assert_refused("donor/out", "donor", false, true, "lies inside");
    assert_refused("donor/inner/out", "donor", false, true, "lies inside");
    assert_refused("other/way-in/out", "donor", false, true, "lies inside");
    assert_refused("link/out", "donor/", false, true, "lies inside");
}

static void refuses_an_output_that_holds_the_donor(void **state)
{
    (void)state;
    assert_refused("donor", "donor/inner", false, true, "contains");
    assert_refused("donor", "other/way-in", false, true, "contains");
    assert_refused("donor", "donor/model.safetensors", true, true, "contains");
}

static void refuses_names_that_cannot_be_renamed_to(void **state)
{
    (void)state;
    char long_name[NAME_MAX + 1];
    memset(long_name, 'x', 250);
    long_name[250] = 0;
    assert_refused("missing/out", "donor", false, false, "is missing");
    assert_refused("", "donor", false, false, "name of something new");
    assert_refused("/", "donor", false, false, "name of something new");
    assert_refused("other/..", "donor", false, false, "name of something new");
    assert_refused("out.safetensors/", "single.safetensors", true, false, "one file");
    assert_refused(long_name, "donor", false, false, "at most");
    assert_refused("single.safetensors/out", "donor", false, false, "cannot be used");
}

static void refuses_what_exists_and_replaces_only_checkpoints(void **state)
{
    (void)state;
    assert_refused("donor", "other", false, false, "exists; --force replaces it");
    assert_refused("other", "donor", false, false, "no checkpoint");
    assert_refused("other", "donor", false, true, "no checkpoint");
    assert_refused("dangling", "donor", false, true, "no checkpoint");
    assert_refused("link", "single.safetensors", true, true, "no checkpoint"); /* a link to a checkpoint is not one */
    donor_write("notes.txt", "x", 1);
    assert_refused("notes.txt", "single.safetensors", true, true, "no checkpoint");
    assert_int_equal(mkdir("new.safetensors.physarium", 0777), 0);
    assert_refused("new.safetensors", "single.safetensors", true, true, "physarium exists");
}

static void a_hard_link_to_the_donor_may_be_replaced(void **state)
{
    (void)state;
    assert_int_equal(try_output("hard.safetensors", "single.safetensors", true, true), PHY_OK);
    struct phy_output out;
    const char *donor = "single.safetensors";
    assert_int_equal(phy_output_check(&out, &(struct phy_output_params){.path = "hard.safetensors",
                                                                        .single_file = true,
                                                                        .force = true,
                                                                        .protect = &donor,
                                                                        .protect_count = 1}),
                     PHY_OK);
    assert_int_equal(phy_output_begin(&out), PHY_OK);
    int fd;
    assert_int_equal(phy_output_open_file(&out, out.name, 5, &fd), PHY_OK);
    assert_int_equal(write(fd, "fresh", 5), 5);
    close(fd);
    assert_int_equal(phy_output_publish(&out), PHY_OK);
    phy_output_close(&out);
    size_t bytes;
    unsigned char *data = donor_read("hard.safetensors", &bytes);
    assert_int_equal(bytes, 5);
    free(data);
    data = donor_read("single.safetensors", &bytes);
    assert_true(bytes > 5);
    free(data);
}

static void a_second_run_finds_the_first_at_work(void **state)
{
    (void)state;
    struct phy_output first, second;
    struct phy_output_params params = {.path = "out", .force = true, .host = &host};
    assert_int_equal(phy_output_check(&first, &params), PHY_OK);
    assert_int_equal(phy_output_begin(&first), PHY_OK);
    assert_false(first.found_partial);
    host = recording_host(&record);
    assert_int_equal(phy_output_check(&second, &params), PHY_OK);
    assert_int_equal(phy_output_begin(&second), PHY_ERR_USAGE);
    assert_non_null(strstr(record.error, "another run"));
    phy_output_close(&second);
    phy_output_close(&first); /* as if it was killed: the lock goes, the folder stays */
    assert_int_equal(phy_output_check(&second, &params), PHY_OK);
    assert_int_equal(phy_output_begin(&second), PHY_OK);
    assert_true(second.found_partial);
    phy_output_discard(&second);
    phy_output_close(&second);
}

static void publishing_replaces_a_checkpoint_and_leaves_nothing_behind(void **state)
{
    (void)state;
    struct stat there;
    struct phy_output out;
    mode_t umask_before = umask(027);
    assert_int_equal(mkdir("old", 0777), 0);
    donor_write("old/model.safetensors", "old", 3);
    assert_int_equal(mkdir("old/sub", 0777), 0);
    donor_write("old/sub/file", "old", 3);
    struct phy_output_params params = {.path = "old/", .force = true};
    assert_int_equal(phy_output_check(&out, &params), PHY_OK);
    assert_int_equal(phy_output_begin(&out), PHY_OK);
    int fd;
    assert_int_equal(phy_output_open_file(&out, "model.safetensors", 0, &fd), PHY_OK);
    close(fd);
    assert_int_equal(phy_output_publish(&out), PHY_OK);
    phy_output_close(&out);
    umask(umask_before);
    assert_int_equal(stat("old/model.safetensors", &there), 0);
    assert_int_equal(there.st_size, 0);
    assert_int_equal(there.st_mode & 0777, 0640); /* 0666 less the umask */
    assert_int_equal(stat("old", &there), 0);
    assert_int_equal(there.st_mode & 0777, 0750);
    assert_int_not_equal(stat("old/sub", &there), 0);
    assert_int_equal(stat("old/physarium", &there), 0);
    assert_int_not_equal(stat("old/physarium/journal", &there), 0);
    assert_int_not_equal(lstat(".old.physarium-partial", &there), 0);
}

static void does_not_publish_over_what_appeared_meanwhile(void **state)
{
    (void)state;
    struct phy_output out;
    struct stat there;
    host = recording_host(&record);
    struct phy_output_params params = {.path = "late", .host = &host};
    assert_int_equal(phy_output_check(&out, &params), PHY_OK);
    assert_int_equal(phy_output_begin(&out), PHY_OK);
    assert_int_equal(mkdir("late", 0777), 0);
    assert_int_equal(phy_output_publish(&out), PHY_ERR_USAGE);
    assert_int_equal(stat(".late.physarium-partial/physarium/journal", &there), 0); /* all is kept */
    phy_output_discard(&out);
    phy_output_close(&out);
}

static bool makes_one(const void *user, const char *path, bool is_directory)
{
    return !is_directory && strcmp(path, user) == 0;
}

/* Of every kind, at the last moment. */
static void does_not_publish_what_the_run_did_not_make(void **state)
{
    static const char *const strange[] = {"touch strange",
                                          "mkdir strange",
                                          "mkfifo strange",
                                          "ln -s weights strange",
                                          "touch physarium/strange",
                                          "rm weights && mkdir weights",
                                          "rm weights && ln -s /dev/null weights"};
    (void)state;
    for (size_t i = 0; i < sizeof strange / sizeof *strange; i++) {
        struct phy_output out;
        struct stat there;
        char command[128];
        int fd;
        host = recording_host(&record);
        struct phy_output_params params = {.path = "new", .makes = makes_one, .user = "weights", .host = &host};
        assert_int_equal(phy_output_check(&out, &params), PHY_OK);
        assert_int_equal(phy_output_begin(&out), PHY_OK);
        assert_int_equal(phy_output_open_file(&out, "weights", 5, &fd), PHY_OK);
        close(fd);
        assert_int_equal(phy_output_check_entries(&out), PHY_OK);
        snprintf(command, sizeof command, "cd .new.physarium-partial && %s", strange[i]);
        assert_int_equal(system(command), 0);
        assert_int_equal(phy_output_check_entries(&out), PHY_ERR_USAGE);
        host = recording_host(&record);
        assert_int_equal(phy_output_publish(&out), PHY_ERR_USAGE);
        assert_int_equal(record.errors, 1);
        assert_non_null(strstr(record.error, strstr(strange[i], "rm") ? "partial/weights: this run did not make it"
                                                                      : "strange: this run did not make it"));
        assert_int_equal(stat(".new.physarium-partial/physarium/journal", &there), 0); /* all is kept */
        assert_int_not_equal(lstat("new", &there), 0);
        phy_output_discard(&out);
        phy_output_close(&out);
    }
}

static void says_both_numbers_when_there_is_no_space(void **state)
{
    (void)state;
    struct phy_output out;
    host = recording_host(&record);
    assert_int_equal(phy_output_check(&out, &(struct phy_output_params){.path = "big", .host = &host}), PHY_OK);
    assert_int_equal(phy_output_check_space(&out, UINT64_C(1) << 60), PHY_ERR_IO);
    assert_non_null(strstr(record.error, "1152921504673955840 bytes are needed"));
    assert_non_null(strstr(record.error, "are free"));
    phy_output_close(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(refuses_the_donor_itself_by_any_way),
        cmocka_unit_test(refuses_an_output_inside_the_donor),
        cmocka_unit_test(refuses_an_output_that_holds_the_donor),
        cmocka_unit_test(refuses_names_that_cannot_be_renamed_to),
        cmocka_unit_test(refuses_what_exists_and_replaces_only_checkpoints),
        cmocka_unit_test(a_hard_link_to_the_donor_may_be_replaced),
        cmocka_unit_test(a_second_run_finds_the_first_at_work),
        cmocka_unit_test(publishing_replaces_a_checkpoint_and_leaves_nothing_behind),
        cmocka_unit_test(does_not_publish_over_what_appeared_meanwhile),
        cmocka_unit_test(does_not_publish_what_the_run_did_not_make),
        cmocka_unit_test(says_both_numbers_when_there_is_no_space),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
