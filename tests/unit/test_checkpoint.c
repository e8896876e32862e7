/* SPDX-License-Identifier: Apache-2.0 */
#include "support/checkpoint_build.h"

#include <errno.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/alloc.h"
#include "base/io.h"
#include "format/checkpoint_files.h"

static struct log_record said;
static char warnings[16384]; /* all of the last open's, one a line */
static struct phy_host host;

static void keep_all(void *user, enum phy_log_level level, const char *line)
{
    record_line(user, level, line);
    if (level == PHY_LOG_WARNING)
        snprintf(warnings + strlen(warnings), sizeof warnings - strlen(warnings), "%s\n", line);
}

static enum phy_status open_with(struct phy_checkpoint **cp, const char *path, bool follow)
{
    warnings[0] = 0;
    host = recording_host(&said);
    host.log = keep_all;
    enum phy_status status =
        phy_checkpoint_open(cp, path, &(struct phy_checkpoint_params){.host = &host, .follow_symlinks = follow});
    assert_int_equal(said.errors, status != PHY_OK);
    if (status)
        assert_null(*cp);
    return status;
}

static void assert_refused(const char *path, enum phy_status expected, const char *word, const char *second)
{
    struct phy_checkpoint *cp;
    enum phy_status status = open_with(&cp, path, false);
    if (status != expected)
        fail_msg("%s: %s, expected %s: %s", path, phy_status_name(status), phy_status_name(expected), said.error);
    if (!strstr(said.error, word) || !strstr(said.error, second))
        fail_msg("%s: no %s and %s in: %s", path, word, second, said.error);
    assert_int_equal(said.warnings, 0);
}

/* Opens, with `count` warnings that hold the word; the sidecars' paths joined by spaces are `sidecars`, unless NULL. */
static void assert_opens(const char *path, bool follow, unsigned count, const char *word, const char *sidecars)
{
    struct phy_checkpoint *cp;
    char seen[4096] = "";
    if (open_with(&cp, path, follow) != PHY_OK)
        fail_msg("%s: refused: %s", path, said.error);
    if (said.warnings != count || !strstr(warnings, word))
        fail_msg("%s: %u warnings, expected %u with %s: %s", path, said.warnings, count, word, warnings);
    for (size_t i = 0; i < phy_checkpoint_sidecar_count(cp); i++) {
        struct phy_sidecar sidecar;
        phy_checkpoint_sidecar(cp, i, &sidecar);
        snprintf(seen + strlen(seen), sizeof seen - strlen(seen), "%s%s%s", i ? " " : "", sidecar.path,
                 sidecar.is_directory ? "/" : "");
    }
    phy_checkpoint_close(&cp);
    if (sidecars)
        assert_string_equal(seen, sidecars);
}

#define INDEX(map) "{\"weight_map\":{" map "}}"

/* A folder of two shards with another index. */
static const char *with_index(const char *folder, const char *index)
{
    char path[PATH_MAX];
    write_two_shards(folder);
    snprintf(path, sizeof path, "%s/" INDEX_NAME, folder);
    write_text(path, index);
    return folder;
}

#define GOOD_MAP "\"a.w\":\"m-1.safetensors\",\"b.w\":\"m-1.safetensors\",\"c.w\":\"m-2.safetensors\""

/* ---- what an open checkpoint says ---- */

static void lists_shards_and_tensors_in_name_and_data_order(void **state)
{
    (void)state;
    struct phy_checkpoint *cp;
    struct phy_shard_info shard;
    struct phy_tensor_info tensor;
    write_two_shards("d");
    assert_int_equal(open_with(&cp, "d", false), PHY_OK);
    assert_int_equal(said.warnings, 0);
    assert_true(phy_checkpoint_is_directory(cp) && phy_checkpoint_has_index(cp));
    assert_int_equal(phy_checkpoint_container(cp), PHY_CONTAINER_SAFETENSORS);
    assert_int_equal(phy_checkpoint_shard_count(cp), 2);
    phy_checkpoint_shard(cp, 1, &shard);
    assert_string_equal(shard.name, "m-2.safetensors");
    assert_int_equal(shard.tensor_begin, 2);
    assert_int_equal(shard.tensor_end, 3);
    phy_checkpoint_tensor(cp, 2, &tensor);
    assert_string_equal(tensor.name, "c.w");
    assert_int_equal(tensor.shard, 1);
    assert_int_equal(tensor.at, shard.header_bytes);
    assert_int_equal(tensor.at + tensor.bytes, shard.file_bytes);
    unsigned char data[8];
    assert_int_equal(phy_checkpoint_read(cp, 1, tensor.at, data, 8), PHY_OK);
    assert_int_equal(data[1], 48);
    assert_int_equal(phy_checkpoint_read(cp, 1, tensor.at + 1, data, 8), PHY_ERR_IO);
    assert_non_null(strstr(said.error, "m-2.safetensors"));
    phy_checkpoint_close(&cp);
    phy_checkpoint_close(&cp);
}

static void finds_the_shard_of_a_tensor_beside_empty_shards(void **state)
{
    (void)state;
    struct phy_checkpoint *cp;
    struct phy_tensor_info tensor;
    with_index("d", INDEX(GOOD_MAP));
    write_st("d/m-1.safetensors", "{}", 0);
    assert_refused("d", PHY_ERR_FORMAT, "a.w", "m-1.safetensors");
    /* An empty shard can be named only by a mapping that fails, so an empty single file stands for it. */
    assert_int_equal(mkdir("e", 0777), 0);
    write_st("e/model.safetensors", "{}", 0);
    assert_int_equal(open_with(&cp, "e", false), PHY_OK);
    assert_int_equal(phy_checkpoint_tensor_count(cp), 0);
    assert_false(phy_checkpoint_has_index(cp));
    phy_checkpoint_close(&cp);
    write_st("one.safetensors", "{" ST_TENSOR("x", "U8", "[2]", 0, 2) "}", 2);
    assert_int_equal(open_with(&cp, "./one.safetensors", false), PHY_OK);
    assert_false(phy_checkpoint_is_directory(cp));
    assert_int_equal(phy_checkpoint_sidecar_count(cp), 0);
    assert_string_equal(phy_checkpoint_path(cp), "./one.safetensors");
    phy_checkpoint_tensor(cp, 0, &tensor);
    assert_int_equal(tensor.shard, 0);
    phy_checkpoint_close(&cp);
}

static void notices_a_donor_that_changes(void **state)
{
    (void)state;
    struct phy_checkpoint *cp;
    write_two_shards("d");
    assert_int_equal(open_with(&cp, "d", false), PHY_OK);
    assert_int_equal(phy_checkpoint_unchanged(cp), PHY_OK);
    assert_int_equal(rename("d/m-2.safetensors", "d/old"), 0);
    assert_int_equal(phy_checkpoint_unchanged(cp), PHY_ERR_IO);
    assert_non_null(strstr(said.error, "m-2.safetensors"));
    write_st("d/m-2.safetensors", "{" ST_TENSOR("c.w", "F16", "[4]", 0, 8) "}", 8); /* the same bytes in another file */
    assert_int_equal(phy_checkpoint_unchanged(cp), PHY_ERR_IO);
    assert_int_equal(rename("d/old", "d/m-2.safetensors"), 0);
    assert_int_equal(phy_checkpoint_unchanged(cp), PHY_OK);
    const struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, {.tv_sec = 1}};
    assert_int_equal(utimensat(AT_FDCWD, "d/m-1.safetensors", times, 0), 0);
    assert_int_equal(phy_checkpoint_unchanged(cp), PHY_ERR_IO);
    phy_checkpoint_close(&cp);

    write_st("s.safetensors", "{}", 0);
    assert_int_equal(open_with(&cp, "s.safetensors", false), PHY_OK);
    assert_int_equal(chdir("d"), 0); /* the path was relative: it is not looked up from here */
    assert_int_equal(phy_checkpoint_unchanged(cp), PHY_OK);
    assert_int_equal(chdir(".."), 0);
    assert_int_equal(truncate("s.safetensors", 3), 0);
    assert_int_equal(phy_checkpoint_unchanged(cp), PHY_ERR_IO);
    phy_checkpoint_close(&cp);
}

/* ---- paths ---- */

static void tells_absent_paths_from_bad_ones(void **state)
{
    (void)state;
    assert_refused("absent", PHY_ERR_IO, "absent", "");
    assert_refused("", PHY_ERR_IO, "", "");
    write_st("f.safetensors", "{}", 0);
    assert_refused("f.safetensors/", PHY_ERR_IO, "f.safetensors/", "");
    assert_int_equal(symlink("loop", "loop"), 0);
    assert_refused("loop", PHY_ERR_IO, "loop", "");
    assert_int_equal(mkfifo("pipe", 0666), 0);
    assert_refused("pipe", PHY_ERR_FORMAT, "pipe", "regular file");
    assert_refused("/dev/null", PHY_ERR_FORMAT, "/dev/null", "regular file");
    assert_int_equal(symlink("f.safetensors", "link"), 0);
    assert_opens("link", false, 0, "", "");
}

static void cuts_a_long_path_in_messages_not_the_fact(void **state)
{
    (void)state;
    char path[2048] = "";
    for (int i = 0; i < 900; i++)
        strcat(path, "./");
    strcat(path, "end.safetensors");
    write_text("end.safetensors", "no");
    assert_refused(path, PHY_ERR_FORMAT, "/end.safetensors: header: 2 bytes", "...");
}

static void takes_gguf_by_its_bytes_or_its_name(void **state)
{
    (void)state;
    struct phy_checkpoint *cp;
    static const unsigned char empty[24] = {'G', 'G', 'U', 'F', 3};
    write_file("x", empty, sizeof empty);
    assert_int_equal(open_with(&cp, "x", false), PHY_OK);
    assert_int_equal(phy_checkpoint_container(cp), PHY_CONTAINER_GGUF);
    phy_checkpoint_close(&cp);
    write_st("y.gguf", "{}", 0);
    assert_refused("y.gguf", PHY_ERR_FORMAT, "y.gguf", "magic");
    assert_int_equal(mkdir("d", 0777), 0);
    write_file("d/model.safetensors", empty, sizeof empty);
    assert_refused("d", PHY_ERR_FORMAT, "model.safetensors", "GGUF");
}

/* ---- I1 ---- */

static void explains_a_folder_without_weights(void **state)
{
    (void)state;
    assert_int_equal(mkdir("d", 0777), 0);
    assert_refused("d", PHY_ERR_FORMAT, "model.safetensors", "d:");
    write_st("d/other.safetensors", "{}", 0);
    assert_refused("d", PHY_ERR_FORMAT, "model.safetensors", "other.safetensors");
    assert_int_equal(mkdir("d/a.bin", 0777), 0); /* a folder is no pickle */
    assert_refused("d", PHY_ERR_FORMAT, "model.safetensors", "");
    write_text("d/x.pth", "");
    assert_refused("d", PHY_ERR_UNSUPPORTED, "x.pth", "");
    write_text("d/b.pt", "");
    assert_refused("d", PHY_ERR_UNSUPPORTED, "b.pt", "");
}

static void refuses_a_single_model_that_the_index_leaves_out(void **state)
{
    (void)state;
    write_two_shards("d");
    assert_int_equal(symlink("nowhere", "d/model.safetensors"), 0);
    assert_refused("d", PHY_ERR_FORMAT, "model.safetensors: ", INDEX_NAME);
}

static void wants_weights_to_be_regular_files(void **state)
{
    (void)state;
    assert_int_equal(mkdir("d", 0777), 0);
    assert_int_equal(mkdir("d/model.safetensors", 0777), 0);
    assert_refused("d", PHY_ERR_FORMAT, "model.safetensors", "regular file");
    assert_int_equal(rmdir("d/model.safetensors"), 0);
    assert_int_equal(mkfifo("d/model.safetensors", 0666), 0);
    assert_refused("d", PHY_ERR_FORMAT, "model.safetensors", "regular file");
    assert_int_equal(unlink("d/model.safetensors"), 0);
    assert_int_equal(symlink("/dev/zero", "d/model.safetensors"), 0);
    assert_refused("d", PHY_ERR_FORMAT, "model.safetensors", "regular file");
    assert_int_equal(unlink("d/model.safetensors"), 0);
    assert_int_equal(symlink("model.safetensors", "d/model.safetensors"), 0);
    assert_refused("d", PHY_ERR_FORMAT, "model.safetensors", "missing");
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = "d/model.safetensors"};
    assert_int_equal(unlink("d/model.safetensors"), 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    assert_refused("d", PHY_ERR_FORMAT, "model.safetensors", "regular file");
    close(fd);

    assert_int_equal(mkdir("e", 0777), 0);
    assert_int_equal(mkdir("e/" INDEX_NAME, 0777), 0);
    assert_refused("e", PHY_ERR_FORMAT, INDEX_NAME, "regular file");
    assert_int_equal(rmdir("e/" INDEX_NAME), 0);
    assert_int_equal(symlink("nowhere", "e/" INDEX_NAME), 0);
    assert_refused("e", PHY_ERR_FORMAT, INDEX_NAME, "missing");
}

/* ---- I2 - I8 ---- */

static void holds_the_index_to_the_letter(void **state)
{
    (void)state;
    static const struct {
        const char *index, *word, *second;
    } bad[] = {
        {"", "JSON", ""},
        {"[]", "JSON", ""},
        {" " INDEX(GOOD_MAP), "JSON", "byte 0"},
        {"\xef\xbb\xbf" INDEX(GOOD_MAP), "JSON", "byte 0"},
        {INDEX(GOOD_MAP) "x", "JSON", ""},
        {INDEX(GOOD_MAP "\xff"), "UTF-8", ""},
        {INDEX(GOOD_MAP ","), "JSON", ""},
        {"version https://git-lfs.github.com/spec/v1\n", "LFS", ""},
        {"{}", "weight_map", "missing"},
        {"{\"weight_map\":{}}", "weight_map", "empty"},
        {"{\"weight_map\":[]}", "weight_map", "an array"},
        {"{\"weight_map\":null}", "weight_map", "null"},
        {INDEX("\"a.w\":[\"m-1.safetensors\"]"), "weight_map \"a.w\"", "an array"},
        {INDEX("\"a.w\":null"), "weight_map \"a.w\"", "null"},
        {INDEX(GOOD_MAP ",\"\\u0061.w\":\"m-1.safetensors\""), "\"a.w\"", "duplicate"},
        {"{\"weight_map\":{" GOOD_MAP "},\"weight_map\":{" GOOD_MAP "}}", "\"weight_map\"", "duplicate"},
        {"{\"x\":{\"k\":[{\"y\":1,\"y\":2}]},\"weight_map\":{" GOOD_MAP "}}", "\"y\"", "duplicate"},
        {"{\"metadata\":{\"m\":1,\"m\":2},\"weight_map\":{" GOOD_MAP "}}", "\"m\"", "duplicate"},
        {"{\"metadata\":null,\"weight_map\":{" GOOD_MAP "}}", "metadata", "null"},
        {"{\"metadata\":[],\"weight_map\":{" GOOD_MAP "}}", "metadata", "an array"},
        {INDEX("\"a.w\\u0000\":\"m-1.safetensors\""), "\"a.w\\u0000\"", "not in m-1.safetensors"},
        {INDEX("\"c.w\":\"m-1.safetensors\",\"a.w\":\"m-2.safetensors\""), "\"c.w\"", "not in m-1.safetensors"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char folder[16];
        snprintf(folder, sizeof folder, "d%zu", i);
        assert_refused(with_index(folder, bad[i].index), PHY_ERR_FORMAT, INDEX_NAME, bad[i].word);
        assert_non_null(strstr(said.error, bad[i].second));
    }
}

static void lets_unknown_keys_nest_to_a_limit(void **state)
{
    (void)state;
    char deep[1024], index[2048];
    for (int depth = 63; depth <= 66; depth++) {
        char folder[16];
        memset(deep, 0, sizeof deep);
        for (int i = 0; i < depth; i++)
            strcat(deep, i % 2 ? "{\"k\":" : "[");
        strcat(deep, "0");
        for (int i = depth - 1; i >= 0; i--)
            strcat(deep, i % 2 ? "}" : "]");
        snprintf(folder, sizeof folder, "d%d", depth);
        snprintf(index, sizeof index, "{\"x\":%s,\"weight_map\":{" GOOD_MAP "},\"y\":{\"k\":0}}", deep);
        with_index(folder, index);
        if (depth <= 64)
            assert_opens(folder, false, 0, "", NULL);
        else
            assert_refused(folder, PHY_ERR_LIMIT, INDEX_NAME, "64");
    }
}

static void refuses_an_index_that_is_too_long(void **state)
{
    (void)state;
    write_two_shards("d");
    assert_int_equal(truncate("d/" INDEX_NAME, 100000001), 0);
    assert_refused("d", PHY_ERR_LIMIT, INDEX_NAME, "100000001");
}

static void wants_shards_to_be_plain_names(void **state)
{
    (void)state;
    char longest[300], name[400];
    memset(longest, 'x', sizeof longest);
    memcpy(longest + 244, ".safetensors", 13); /* 256 bytes */
    const char *const bad[] = {
        "",
        ".",
        "..",
        "m-1",
        "m-1.safetensors/",
        "./m-1.safetensors",
        "/m-1.safetensors",
        "..\\\\m-1.safetensors",
        "m-1.SAFETENSORS",
        "m-1\\u0000.safetensors",
        "m-1.safetensors\\u0000",
        "m-1\\n.safetensors",
        "\\u001f.safetensors",
        "C:\\\\x.safetensors",
        longest,
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char folder[16];
        snprintf(folder, sizeof folder, "d%zu", i);
        snprintf(name, sizeof name, "{\"weight_map\":{\"a.w\":\"%s\"}}", bad[i]);
        assert_refused(with_index(folder, name), PHY_ERR_FORMAT, INDEX_NAME ": weight_map \"a.w\"", "shard");
    }
    /* 255 bytes are a name, of a file that is not there; so is one of other case, where case matters. */
    snprintf(name, sizeof name, "{\"weight_map\":{\"a.w\":\"%s\"}}", longest + 1);
    assert_refused(with_index("long", name), PHY_ERR_FORMAT, longest + 1, "missing");
    assert_refused(with_index("case", INDEX("\"a.w\":\"M-1.safetensors\"")), PHY_ERR_FORMAT, "M-1.safetensors", "");
}

static void refuses_one_tensor_in_two_shards(void **state)
{
    (void)state;
    with_index("d", INDEX("\"a.w\":\"m-1.safetensors\",\"b.w\":\"m-2.safetensors\""));
    assert_int_equal(unlink("d/m-2.safetensors"), 0);
    assert_int_equal(link("d/m-1.safetensors", "d/m-2.safetensors"), 0);
    assert_refused("d", PHY_ERR_FORMAT, "m-2.safetensors: tensor 0 \"a.w\"", "m-1.safetensors");
}

static void warns_of_unmapped_tensors_and_stale_totals(void **state)
{
    (void)state;
    with_index("d", INDEX("\"a.w\":\"m-1.safetensors\",\"c.w\":\"m-2.safetensors\""));
    assert_opens("d", false, 1, "m-1.safetensors: tensor 1 \"b.w\"", "config.json " INDEX_NAME);
    static const struct {
        const char *value, *word;
    } totals[] = {
        {"24", NULL},
        {"24.0", NULL},
        {"24.5", "24.5"},
        {"2.4e1", "2.4e1"},
        {"\"24\"", "a string \"24\""},
        {"-24", "-24"},
        {"240", "240"},
        {"2", "\"2\""},
        {"null", "null"},
        {"[24]", "an array"},
        {"{\"a\":1}", "an object"},
        {"true", "true"},
        {"\"\\u001b[2J\"", "\\u001b[2J"},
    };
    for (size_t i = 0; i < sizeof totals / sizeof *totals; i++) {
        char folder[16], index[512];
        snprintf(folder, sizeof folder, "t%zu", i);
        snprintf(index, sizeof index, "{\"metadata\":{\"total_size\":%s},\"weight_map\":{" GOOD_MAP "}}",
                 totals[i].value);
        with_index(folder, index);
        assert_opens(folder, false, totals[i].word != NULL, totals[i].word ? totals[i].word : "", NULL);
        if (totals[i].word)
            assert_non_null(strstr(warnings, "24 bytes"));
    }
}

/* ---- I9, I10, W4 ---- */

static void lists_sidecars_and_leaves_out_what_is_not_the_donors(void **state)
{
    (void)state;
    static const char *const folders[] = {"d/.git", "d/.cache",        "d/physarium",  "d/.d.physarium-partial",
                                          "d/sub",  "d/sub/physarium", "d/sub/.cache", "d/zempty"};
    write_two_shards("d");
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) {
        char path[64];
        assert_int_equal(mkdir(folders[i], 0777), 0);
        snprintf(path, sizeof path, "%s/f", folders[i]);
        if (i + 1 < sizeof folders / sizeof *folders)
            write_text(path, "x");
    }
    write_text("d/.hidden", "x");
    assert_opens("d", false, 0, "",
                 ".hidden config.json " INDEX_NAME " sub/ sub/f sub/physarium/ sub/physarium/f zempty/");
    write_st("d/extra.safetensors", "not even json", 0);
    assert_opens("d", false, 1, "extra.safetensors", NULL);
    assert_int_equal(mkfifo("d/sub/pipe", 0666), 0);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = "d/socket"};
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    close(fd);
    assert_opens("d", false, 3, "sub/pipe: a named pipe", NULL);
    assert_non_null(strstr(warnings, "socket: a socket"));
    write_two_shards("e");
    write_text("e/physarium", "a file, not a folder of reports");
    assert_opens("e", false, 1, "physarium: not copied", "config.json " INDEX_NAME);
}

static void copies_links_inside_and_refuses_others(void **state)
{
    (void)state;
    write_two_shards("d");
    write_text("secret", "x");
    assert_int_equal(mkdir("d/sub", 0777), 0);
    assert_int_equal(symlink("../config.json", "d/sub/inside"), 0);
    assert_opens("d", false, 0, "", "config.json " INDEX_NAME " sub/ sub/inside");
    static const char *const targets[] = {"../../secret", "/etc/hostname", "nowhere", "bad", "../../d-other/f"};
    assert_int_equal(mkdir("d-other", 0777), 0); /* begins like the donor's name */
    write_text("d-other/f", "x");
    for (size_t i = 0; i < sizeof targets / sizeof *targets; i++) {
        assert_int_equal(symlink(targets[i], "d/sub/bad"), 0);
        assert_refused("d", PHY_ERR_FORMAT, "sub/bad", "link");
        if (i == 0)
            assert_opens("d", true, 0, "", "config.json " INDEX_NAME " sub/ sub/bad sub/inside");
        assert_int_equal(unlink("d/sub/bad"), 0);
    }
    /* By two steps: a link inside to a link that leaves. */
    assert_int_equal(symlink("second", "d/sub/first"), 0);
    assert_int_equal(symlink("../../secret", "d/sub/second"), 0);
    assert_refused("d", PHY_ERR_FORMAT, "sub/first", "link");
}

static void follows_folder_links_but_not_in_circles(void **state)
{
    (void)state;
    write_two_shards("d");
    assert_int_equal(mkdir("d/sub", 0777), 0);
    write_text("d/sub/f", "x");
    assert_int_equal(symlink("sub", "d/again"), 0);
    assert_opens("d", false, 0, "", "again/ again/f config.json " INDEX_NAME " sub/ sub/f");
    assert_int_equal(symlink("..", "d/sub/up"), 0);
    assert_refused("d", PHY_ERR_FORMAT, "up", "link");
    assert_int_equal(unlink("d/sub/up"), 0);
    assert_int_equal(symlink(".", "d/sub/self"), 0);
    assert_refused("d", PHY_ERR_FORMAT, "self", "link");
    assert_int_equal(unlink("d/sub/self"), 0);
    assert_int_equal(mkdir("outside", 0777), 0);
    write_text("outside/g", "x");
    assert_int_equal(symlink("../outside", "d/out"), 0);
    assert_refused("d", PHY_ERR_FORMAT, "out", "link");
    assert_opens("d", true, 0, "", "again/ again/f config.json " INDEX_NAME " out/ out/g sub/ sub/f");
}

static void reads_the_hub_cache_through_its_links(void **state)
{
    (void)state;
    static const char blob[] = "hub/blobs/0123456789abcdef0123456789abcdef01234567";
    assert_int_equal(mkdir("hub", 0777) | mkdir("hub/blobs", 0777) | mkdir("hub/snapshots", 0777), 0);
    write_two_shards("hub/snapshots/rev");
    assert_int_equal(rename("hub/snapshots/rev/config.json", blob), 0);
    assert_int_equal(symlink("../../blobs/0123456789abcdef0123456789abcdef01234567", "hub/snapshots/rev/config.json"),
                     0);
    assert_opens("hub/snapshots/rev", false, 0, "", "config.json " INDEX_NAME);
    assert_int_equal(rename("hub/snapshots", "hub/snapshot"), 0); /* no snapshots beside blobs: somebody's folder */
    assert_refused("hub/snapshot/rev", PHY_ERR_FORMAT, "config.json", "link");
    assert_int_equal(rename("hub/snapshot", "hub/snapshots"), 0);
    static const char *const names[] = {"0123456789abcdef0123456789abcdef0123456",
                                        "0123456789abcdef0123456789abcdef0123456g",
                                        "0123456789abcdef0123456789abcdef012345678"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char path[128];
        snprintf(path, sizeof path, "hub/blobs/%s", names[i]);
        write_text(path, "x");
        snprintf(path, sizeof path, "../../blobs/%s", names[i]);
        assert_int_equal(symlink(path, "hub/snapshots/rev/other"), 0);
        assert_refused("hub/snapshots/rev", PHY_ERR_FORMAT, "other", "link");
        assert_int_equal(unlink("hub/snapshots/rev/other"), 0);
    }
}

static void opens_sidecars_that_are_still_the_same(void **state)
{
    (void)state;
    struct phy_checkpoint *cp;
    struct phy_sidecar sidecar;
    char text[4] = "";
    int fd;
    write_two_shards("d");
    assert_int_equal(open_with(&cp, "d", false), PHY_OK);
    phy_checkpoint_sidecar(cp, 0, &sidecar);
    assert_string_equal(sidecar.path, "config.json");
    assert_int_equal(sidecar.bytes, 3);
    assert_int_equal(phy_checkpoint_sidecar_open(cp, 0, &fd), PHY_OK);
    assert_int_equal(read(fd, text, 4), 3);
    assert_string_equal(text, "{}\n");
    close(fd);
    assert_int_equal(unlink("d/config.json"), 0);
    assert_int_equal(phy_checkpoint_sidecar_open(cp, 0, &fd), PHY_ERR_IO);
    assert_int_equal(symlink("/etc/hostname", "d/config.json"), 0);
    assert_int_equal(phy_checkpoint_sidecar_open(cp, 0, &fd), PHY_ERR_IO);
    assert_non_null(strstr(said.error, "config.json"));
    assert_int_equal(fd, -1);
    phy_checkpoint_close(&cp);
}

/* ---- what fails around us ---- */

static unsigned open_descriptors(void)
{
    unsigned count = 0;
    DIR *folder = opendir("/proc/self/fd");
    while (folder && readdir(folder))
        count++;
    if (folder)
        closedir(folder);
    return count;
}

static void survives_the_failure_of_any_allocation(void **state)
{
    (void)state;
    struct phy_checkpoint *cp;
    unsigned failed = 0, before = open_descriptors();
    write_two_shards("d");
    assert_int_equal(mkdir("d/sub", 0777), 0);
    assert_int_equal(symlink("../config.json", "d/sub/link"), 0);
    for (uint64_t after = 0;; after++) {
        phy_alloc_fail_after(after);
        enum phy_status status = open_with(&cp, "d", false);
        phy_alloc_fail_after(UINT64_MAX);
        if (status == PHY_OK)
            break;
        assert_int_equal(status, PHY_ERR_MEMORY);
        failed++;
    }
    assert_true(failed > 30);
    phy_checkpoint_close(&cp);
    assert_int_equal(open_descriptors(), before);
}

/* Fails the read number *left. */
static int fail_a_read(void *user, enum phy_io_call call, int fd, size_t *bytes, uint64_t at)
{
    unsigned *left = user;
    (void)fd;
    (void)at;
    if (call != PHY_IO_READ)
        return 0;
    *bytes = *bytes > 3 ? 3 : *bytes; /* and all others are short */
    return (*left)-- == 0 ? EIO : 0;
}

static void reports_every_read_error_as_one(void **state)
{
    (void)state;
    struct phy_checkpoint *cp;
    unsigned failed = 0, before = open_descriptors();
    write_two_shards("d");
    for (unsigned n = 0;; n++) {
        unsigned left = n;
        phy_io_set_hook(fail_a_read, &left);
        enum phy_status status = open_with(&cp, "d", false);
        phy_io_set_hook(NULL, NULL);
        if (status == PHY_OK)
            break;
        assert_int_equal(status, PHY_ERR_IO);
        assert_non_null(strstr(said.error, "rror"));
        failed++;
    }
    assert_true(failed > 30);
    phy_checkpoint_close(&cp);
    assert_int_equal(open_descriptors(), before);
}

static void limits_the_flood_of_warnings(void **state)
{
    (void)state;
    static char header[32768] = "{";
    for (int i = 0; i < 300; i++)
        snprintf(header + strlen(header), sizeof header - strlen(header),
                 "%s\"t%d\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}", i ? "," : "", i);
    strcat(header, "}");
    assert_int_equal(mkdir("d", 0777), 0);
    write_st("d/x.safetensors", header, 0);
    write_text("d/" INDEX_NAME, INDEX("\"t7\":\"x.safetensors\""));
    assert_opens("d", false, 101, "199 more", NULL);
}

#define IN_SCRATCH(test) cmocka_unit_test_setup_teardown(test, scratch_begin, scratch_end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_SCRATCH(lists_shards_and_tensors_in_name_and_data_order),
        IN_SCRATCH(finds_the_shard_of_a_tensor_beside_empty_shards),
        IN_SCRATCH(notices_a_donor_that_changes),
        IN_SCRATCH(tells_absent_paths_from_bad_ones),
        IN_SCRATCH(cuts_a_long_path_in_messages_not_the_fact),
        IN_SCRATCH(takes_gguf_by_its_bytes_or_its_name),
        IN_SCRATCH(explains_a_folder_without_weights),
        IN_SCRATCH(refuses_a_single_model_that_the_index_leaves_out),
        IN_SCRATCH(wants_weights_to_be_regular_files),
        IN_SCRATCH(holds_the_index_to_the_letter),
        IN_SCRATCH(lets_unknown_keys_nest_to_a_limit),
        IN_SCRATCH(refuses_an_index_that_is_too_long),
        IN_SCRATCH(wants_shards_to_be_plain_names),
        IN_SCRATCH(refuses_one_tensor_in_two_shards),
        IN_SCRATCH(warns_of_unmapped_tensors_and_stale_totals),
        IN_SCRATCH(lists_sidecars_and_leaves_out_what_is_not_the_donors),
        IN_SCRATCH(copies_links_inside_and_refuses_others),
        IN_SCRATCH(follows_folder_links_but_not_in_circles),
        IN_SCRATCH(reads_the_hub_cache_through_its_links),
        IN_SCRATCH(opens_sidecars_that_are_still_the_same),
        IN_SCRATCH(survives_the_failure_of_any_allocation),
        IN_SCRATCH(reports_every_read_error_as_one),
        IN_SCRATCH(limits_the_flood_of_warnings),
    };
    return cmocka_run_group_tests_name("checkpoint", tests, NULL, NULL);
}
