/* SPDX-License-Identifier: Apache-2.0 */
/* Folders and safetensors files made by hand, below a fresh directory that is deleted afterwards. */
#ifndef PHY_TESTS_SUPPORT_CHECKPOINT_BUILD_H
#define PHY_TESTS_SUPPORT_CHECKPOINT_BUILD_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/checked_math.h"
#include "support/test.h"

#define INDEX_NAME "model.safetensors.index.json"

/* All paths are relative to the scratch directory, which is the working directory while a test runs. */
struct scratch {
    char path[PATH_MAX], before[PATH_MAX];
};

static inline int scratch_begin(void **state)
{
    struct scratch *s = calloc(1, sizeof *s);
    assert_non_null(s);
    snprintf(s->path, sizeof s->path, "%s/physarium-test-XXXXXX", getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp");
    assert_non_null(getcwd(s->before, sizeof s->before));
    assert_non_null(mkdtemp(s->path));
    assert_int_equal(chdir(s->path), 0);
    *state = s;
    return 0;
}

static inline int remove_one(const char *path, const struct stat *found, int kind, struct FTW *where)
{
    (void)found;
    (void)kind;
    (void)where;
    return remove(path);
}

static inline int scratch_end(void **state)
{
    struct scratch *s = *state;
    assert_int_equal(chdir(s->before), 0);
    assert_int_equal(nftw(s->path, remove_one, 16, FTW_DEPTH | FTW_PHYS), 0); /* through no link */
    free(s);
    return 0;
}

static inline void write_file(const char *path, const void *bytes, size_t count)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, bytes, count), (ssize_t)count);
    assert_int_equal(close(fd), 0);
}

static inline void write_text(const char *path, const char *text)
{
    write_file(path, text, strlen(text));
}

/* Length, header, and data_bytes bytes of data: a file of the returned size at out. */
static inline size_t st_bytes(unsigned char *out, const char *header, size_t data_bytes)
{
    size_t n = strlen(header);
    phy_store_u64(out, n);
    memcpy(out + 8, header, n);
    for (size_t i = 0; i < data_bytes; i++)
        out[8 + n + i] = (unsigned char)(11 + 37 * i);
    return 8 + n + data_bytes;
}

static inline void write_st(const char *path, const char *header, size_t data_bytes)
{
    unsigned char bytes[65536];
    assert_true(strlen(header) + data_bytes + 8 <= sizeof bytes);
    write_file(path, bytes, st_bytes(bytes, header, data_bytes));
}

#define ST_TENSOR(name, dtype, shape, begin, end)                                                                      \
    "\"" name "\":{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":[" #begin "," #end "]}"

/* A folder of two shards, with a.w and b.w in the first, c.w in the second, and a config. */
static inline void write_two_shards(const char *folder)
{
    char path[PATH_MAX];
    assert_int_equal(mkdir(folder, 0777), 0);
    snprintf(path, sizeof path, "%s/m-1.safetensors", folder);
    write_st(path, "{" ST_TENSOR("a.w", "BF16", "[2,3]", 0, 12) "," ST_TENSOR("b.w", "F32", "[1]", 12, 16) "}", 16);
    snprintf(path, sizeof path, "%s/m-2.safetensors", folder);
    write_st(path, "{" ST_TENSOR("c.w", "F16", "[4]", 0, 8) "}", 8);
    snprintf(path, sizeof path, "%s/" INDEX_NAME, folder);
    write_text(path, "{\"metadata\":{\"total_size\":24},\"weight_map\":{\"a.w\":\"m-1.safetensors\","
                     "\"b.w\":\"m-1.safetensors\",\"c.w\":\"m-2.safetensors\"}}");
    snprintf(path, sizeof path, "%s/config.json", folder);
    write_text(path, "{}\n");
}

#endif
