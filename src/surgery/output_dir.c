/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include "surgery/output_dir.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/checked_math.h"
#include "base/io.h"
#include "base/log.h"
#include "base/path_name.h"
#include "base/whole_file.h"
#include "physarium/checkpoint.h"
#include "surgery/remove_tree.h"

enum { OPEN_DIRECTORY = O_RDONLY | O_DIRECTORY | O_CLOEXEC };

static char *join(const char *before, const char *name, const char *after)
{
    size_t bytes = strlen(before) + strlen(name) + strlen(after) + 1;
    char *text = phy_alloc(bytes, 1);
    if (text)
        snprintf(text, bytes, "%s%s%s", before, name, after);
    return text;
}

static bool same_file(const struct stat *a, const struct stat *b)
{
    return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

/* True if the directory `fd` is `wanted` or lies below it, by device and inode on the way up to the root. Closes fd. */
static bool lies_in(int fd, const struct stat *wanted)
{
    struct stat here, above;
    bool found = false;
    while (fd >= 0 && fstat(fd, &here) == 0) {
        if (same_file(&here, wanted)) {
            found = true;
            break;
        }
        int up = openat(fd, "..", OPEN_DIRECTORY);
        if (up < 0 || fstat(up, &above) != 0 || same_file(&above, &here)) {
            if (up >= 0)
                close(up);
            break;
        }
        close(fd);
        fd = up;
    }
    if (fd >= 0)
        close(fd);
    return found;
}

/* The directory that holds a path with every link resolved: the path itself if it is a directory. */
static int open_home(char *real, bool is_directory)
{
    if (!is_directory) {
        char *slash = strrchr(real, '/');
        slash[slash == real ? 1 : 0] = 0;
    }
    return open(real, OPEN_DIRECTORY);
}

/* Is the output this very directory entry? The inode alone does not tell: a hard link to the donor may be replaced,
 * because only its name changes. */
static bool is_same_entry(const struct phy_output *out, const char *real, const struct stat *output,
                          const struct stat *source)
{
    if (!same_file(output, source))
        return false;
    if (S_ISDIR(source->st_mode) || source->st_nlink == 1)
        return true;
    const char *slash = strrchr(real, '/');
    char *folder = phy_strndup(real, slash == real ? 1 : (size_t)(slash - real));
    struct stat a, b;
    bool same = folder && stat(folder, &a) == 0 && fstat(out->parent_fd, &b) == 0 && same_file(&a, &b) &&
                strcmp(slash + 1, out->name) == 0;
    phy_free(folder);
    return same;
}

static enum phy_status check_source(const struct phy_output *out, const char *source_path)
{
    const struct phy_host *host = out->params.host;
    struct stat source, output;
    char *real = realpath(source_path, NULL);
    if (!real || stat(real, &source) != 0) {
        free(real);
        return PHY_OK; /* absent: opening it says so */
    }
    enum phy_status status = PHY_OK;
    bool exists = fstatat(out->parent_fd, out->name, &output, 0) == 0;
    bool is_directory = S_ISDIR(source.st_mode);
    if (exists && is_same_entry(out, real, &output, &source))
        status = phy_fail(host, PHY_ERR_USAGE, "%s: the output is what is read; nothing was written", out->path);
    else if (is_directory && lies_in(fcntl(out->parent_fd, F_DUPFD_CLOEXEC, 0), &source))
        status = phy_fail(host, PHY_ERR_USAGE, "%s: the output lies inside %s, which is read; nothing was written",
                          out->path, source_path);
    else if (exists && S_ISDIR(output.st_mode) && lies_in(open_home(real, is_directory), &output))
        status = phy_fail(host, PHY_ERR_USAGE, "%s: the output contains %s, which is read; nothing was written",
                          out->path, source_path);
    free(real);
    return status;
}

static enum phy_status take_names(struct phy_output *out)
{
    const struct phy_output_params *params = &out->params;
    size_t bytes = phy_path_bytes(params->path);
    out->path = phy_strndup(params->path, bytes);
    if (!out->path)
        return phy_fail_memory(params->host, "a path", bytes);
    char *slash = strrchr(out->path, '/');
    out->name = slash ? slash + 1 : out->path;
    if (*out->name == 0 || strcmp(out->name, ".") == 0 || strcmp(out->name, "..") == 0)
        return phy_fail(params->host, PHY_ERR_USAGE, "output \"%s\": give the name of something new", params->path);
    if (params->single_file && params->path[bytes] == '/')
        return phy_fail(params->host, PHY_ERR_USAGE, "%s: the output is one file; no slash after it", params->path);
    char *folder = slash ? phy_strndup(out->path, (size_t)(slash - out->path) + 1) : phy_strndup("", 0);
    out->partial_name = join(".", out->name, ".physarium-partial");
    out->reports_name = join("", out->name, ".physarium");
    out->partial_path = folder && out->partial_name ? join(folder, out->partial_name, "") : NULL;
    enum phy_status status = PHY_OK;
    if (!folder || !out->partial_path || !out->reports_name)
        status = phy_fail_memory(params->host, "a path", bytes);
    else if (strlen(out->partial_name) > NAME_MAX)
        status = phy_fail(params->host, PHY_ERR_USAGE, "%s: a name of %zu bytes; at most %zu fit beside ours",
                          out->path, strlen(out->name), strlen(out->name) - (strlen(out->partial_name) - NAME_MAX));
    else if ((out->parent_fd = open(*folder ? folder : ".", OPEN_DIRECTORY)) < 0)
        status = phy_fail(params->host, PHY_ERR_USAGE, "%s: its folder \"%s\" %s: %s", out->path,
                          *folder ? folder : ".", errno == ENOENT ? "is missing" : "cannot be used", strerror(errno));
    phy_free(folder);
    return status;
}

enum phy_status phy_output_check(struct phy_output *out, const struct phy_output_params *params)
{
    *out =
        (struct phy_output){.params = *params, .parent_fd = -1, .partial_fd = -1, .reports_fd = -1, .journal_fd = -1};
    if (!out->params.kind)
        out->params.kind = &phy_output_checkpoint;
    enum phy_status status = take_names(out);
    for (size_t i = 0; status == PHY_OK && i < params->protect_count; i++)
        status = params->protect[i] ? check_source(out, params->protect[i]) : PHY_OK;
    if (status == PHY_OK) {
        struct stat there;
        out->exists = fstatat(out->parent_fd, out->name, &there, AT_SYMLINK_NOFOLLOW) == 0;
    } else {
        phy_output_close(out);
    }
    return status;
}

enum phy_status phy_output_file_check(const char *path, const char *const *inputs, size_t count,
                                      const struct phy_host *host)
{
    struct phy_output out;
    struct stat there;
    enum phy_status status = phy_output_check(&out, &(struct phy_output_params){
                                                        .path = path,
                                                        .single_file = true,
                                                        .protect = inputs,
                                                        .protect_count = count,
                                                        .host = host,
                                                    });
    if (status == PHY_OK && fstatat(out.parent_fd, out.name, &there, 0) == 0 && S_ISDIR(there.st_mode))
        status = phy_fail(host, PHY_ERR_USAGE, "%s: a directory, where a file is to be written", path);
    const int error = status == PHY_OK ? phy_try_whole_file(path) : 0;
    if (error)
        status = phy_fail(host, PHY_ERR_IO, "%s: %s", path, strerror(error));
    phy_output_close(&out);
    return status;
}

static bool holds(int dir_fd, const char *directory, const char *name)
{
    struct stat there;
    int fd = openat(dir_fd, directory, OPEN_DIRECTORY | O_NOFOLLOW);
    bool found = fd >= 0 && fstatat(fd, name, &there, 0) == 0;
    if (fd >= 0)
        close(fd);
    return found;
}

bool phy_output_is_checkpoint(int dir_fd)
{
    struct stat there;
    return fstatat(dir_fd, "model.safetensors", &there, 0) == 0 ||
           fstatat(dir_fd, "model.safetensors.index.json", &there, 0) == 0;
}

const struct phy_output_kind phy_output_checkpoint = {
    .name = "checkpoint",
    .replaced = "a directory with model.safetensors or its index, or a regular .safetensors file",
    .file_ending = ".safetensors",
    .is_of_kind = phy_output_is_checkpoint,
};

static bool is_of_kind(const struct phy_output *out, const struct phy_output_kind *kind)
{
    int fd = kind->is_of_kind ? openat(out->parent_fd, out->name, OPEN_DIRECTORY | O_NOFOLLOW) : -1;
    bool is = fd >= 0 && kind->is_of_kind(fd);
    if (fd >= 0)
        close(fd);
    return is;
}

/* W2. A link is of no kind. */
bool phy_output_replaceable(const struct phy_output *out)
{
    struct stat there;
    const struct phy_output_kind *kind = out->params.kind;
    if (fstatat(out->parent_fd, out->name, &there, AT_SYMLINK_NOFOLLOW) != 0)
        return false;
    if (!S_ISREG(there.st_mode))
        return S_ISDIR(there.st_mode) && is_of_kind(out, kind);
    size_t bytes = strlen(out->name), suffix = kind->file_ending ? strlen(kind->file_ending) : SIZE_MAX;
    return bytes >= suffix && strcmp(out->name + bytes - suffix, kind->file_ending) == 0;
}

/* The reports of a file output stand beside it. A folder of that name is replaced if it is an earlier run's: with
 * force, or when its file is not there (a run that was killed between the two renames). */
static enum phy_status check_reports_name(const struct phy_output *out)
{
    struct stat there;
    if (!out->params.single_file || out->params.without_reports ||
        fstatat(out->parent_fd, out->reports_name, &there, AT_SYMLINK_NOFOLLOW) != 0)
        return PHY_OK;
    if ((out->params.force || !out->exists) && holds(out->parent_fd, out->reports_name, "run.json"))
        return PHY_OK;
    return phy_fail(out->params.host, PHY_ERR_USAGE,
                    "%s.physarium exists, where the reports would go; nothing was written", out->path);
}

enum phy_status phy_output_check_existing(const struct phy_output *out)
{
    const struct phy_host *host = out->params.host;
    struct stat there;
    if (fstatat(out->parent_fd, out->name, &there, AT_SYMLINK_NOFOLLOW) == 0) {
        if (!phy_output_replaceable(out))
            return phy_fail(host, PHY_ERR_USAGE, "%s exists and is no %s: --force replaces only %s", out->path,
                            out->params.kind->name, out->params.kind->replaced);
        if (!out->params.force)
            return phy_fail(host, PHY_ERR_USAGE, "%s exists; --force replaces it", out->path);
    }
    return check_reports_name(out);
}

/* 0, or EWOULDBLOCK when another process holds it. A file system that cannot lock directories leaves it to the journal.
 */
static int lock_descriptor(int fd)
{
    while (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        if (errno == EWOULDBLOCK)
            return EWOULDBLOCK;
        if (errno != EINTR)
            return 0;
    }
    return 0;
}

static void close_descriptor(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

static void close_partial(struct phy_output *out)
{
    close_descriptor(&out->journal_fd);
    close_descriptor(&out->reports_fd);
    close_descriptor(&out->partial_fd);
}

/* Open and lock the partial directory and its journal. The directory is locked first and for as long as it may be
 * renamed: with the journal's lock alone, a second run could get hold of a directory that the first is about to rename.
 */
static enum phy_status open_partial(struct phy_output *out, bool *renamed_away)
{
    const struct phy_host *host = out->params.host;
    const char *name = out->partial_name;
    struct stat ours, there;
    *renamed_away = false;
    out->partial_fd = openat(out->parent_fd, name, OPEN_DIRECTORY | O_NOFOLLOW);
    if (out->partial_fd < 0) {
        *renamed_away = errno == ENOENT;
        return phy_fail(*renamed_away ? NULL : host, PHY_ERR_IO, "%s: %s", out->partial_path, strerror(errno));
    }
    if (lock_descriptor(out->partial_fd) != 0)
        return phy_fail(host, PHY_ERR_USAGE, "%s: another run is writing this output", out->path);
    if (fstat(out->partial_fd, &ours) != 0 || fstatat(out->parent_fd, name, &there, AT_SYMLINK_NOFOLLOW) != 0 ||
        !same_file(&ours, &there)) {
        *renamed_away = true;
        return PHY_ERR_IO;
    }
    if (mkdirat(out->partial_fd, PHY_OUTPUT_REPORTS, 0777) != 0 && errno != EEXIST)
        return phy_output_fail(out, PHY_OUTPUT_REPORTS, errno);
    out->reports_fd = openat(out->partial_fd, PHY_OUTPUT_REPORTS, OPEN_DIRECTORY | O_NOFOLLOW);
    if (out->reports_fd < 0)
        return phy_output_fail(out, PHY_OUTPUT_REPORTS, errno);
    out->journal_fd = openat(out->reports_fd, PHY_OUTPUT_JOURNAL, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0666);
    if (out->journal_fd < 0)
        return phy_output_fail(out, PHY_OUTPUT_JOURNAL_PATH, errno);
    if (lock_descriptor(out->journal_fd) != 0)
        return phy_fail(host, PHY_ERR_USAGE, "%s: another run is writing this output: its journal is locked",
                        out->path);
    /* So that a power cut leaves the journal where a resume finds it. */
    int error = phy_fsync_directory(out->reports_fd);
    if (!error)
        error = phy_fsync_directory(out->partial_fd);
    if (!error)
        error = phy_fsync_directory(out->parent_fd);
    return error ? phy_output_fail(out, "", error) : PHY_OK;
}

enum phy_status phy_output_begin(struct phy_output *out)
{
    enum phy_status status = phy_output_check_existing(out);
    if (status != PHY_OK)
        return status;
    for (int attempt = 0; attempt < 8; attempt++) {
        bool renamed_away;
        out->found_partial = mkdirat(out->parent_fd, out->partial_name, 0777) != 0;
        if (out->found_partial && errno != EEXIST)
            return phy_fail(out->params.host, PHY_ERR_IO, "%s: %s", out->partial_path, strerror(errno));
        status = open_partial(out, &renamed_away);
        if (status == PHY_OK) {
            status = phy_output_check_existing(out); /* again: another run may have ended before we held the lock */
            if (status != PHY_OK && !out->found_partial)
                phy_output_discard(out);
            return status;
        }
        if (status == PHY_ERR_IO && !renamed_away && !out->found_partial)
            phy_output_discard(out); /* ours, new and locked: an error of the disk, not another run's lock */
        close_partial(out);
        if (!renamed_away)
            return status;
    }
    return phy_fail(out->params.host, PHY_ERR_IO, "%s: other runs keep making and removing it", out->partial_path);
}

enum phy_status phy_output_clear(struct phy_output *out)
{
    out->resumable = false;
    int error = phy_remove_contents(out->partial_fd, PHY_OUTPUT_REPORTS);
    if (!error)
        error = phy_remove_contents(out->reports_fd, PHY_OUTPUT_JOURNAL);
    if (!error && ftruncate(out->journal_fd, 0) != 0)
        error = errno;
    return error ? phy_output_fail(out, "", error) : PHY_OK;
}

enum phy_status phy_output_check_space(const struct phy_output *out, uint64_t bytes)
{
    struct statvfs fs;
    uint64_t needed, available;
    if (fstatvfs(out->parent_fd, &fs) != 0)
        return PHY_OK; /* a file system that does not tell; ENOSPC will */
    if (!phy_add_u64(bytes, UINT64_C(64) << 20, &needed) || !phy_mul_u64(fs.f_bavail, fs.f_frsize, &available))
        return PHY_OK;
    if (available >= needed)
        return PHY_OK;
    return phy_fail(out->params.host, PHY_ERR_IO,
                    "%s: no space: %llu bytes are needed (64 MiB of them spare), %llu are free; nothing was written",
                    out->path, (unsigned long long)needed, (unsigned long long)available);
}

enum phy_status phy_output_fail(const struct phy_output *out, const char *name, int error)
{
    const char *advice = out->resumable ? out->params.advice : NULL;
    return phy_fail(out->params.host, PHY_ERR_IO, "%s%s%s: %s%s%s", out->partial_path, *name ? "/" : "", name,
                    strerror(error), advice ? "; " : "", advice ? advice : "");
}

/* A new file in memory; the one that the caller closes is a second descriptor of it. */
static int open_in_memory(struct phy_memory_files *memory, const char *name)
{
    int kept = memory->count < PHY_MEMORY_FILES ? memfd_create(name, MFD_CLOEXEC) : -1;
    int fd = kept >= 0 ? fcntl(kept, F_DUPFD_CLOEXEC, 0) : -1;
    if (fd < 0 && kept >= 0)
        close(kept);
    if (fd < 0)
        return -1;
    snprintf(memory->files[memory->count].name, PHY_MEMORY_NAME_BYTES, "%s", name);
    memory->files[memory->count++].fd = kept;
    return fd;
}

enum phy_status phy_output_in_memory(struct phy_output *out, struct phy_memory_files *memory, const char *label,
                                     const struct phy_host *host)
{
    *memory = (struct phy_memory_files){0};
    *out = (struct phy_output){
        .params.host = host, .memory = memory, .parent_fd = -1, .partial_fd = -1, .reports_fd = -1, .journal_fd = -1};
    out->path = join(label, "", "");
    out->partial_path = join(label, " in memory", "");
    if (out->path && out->partial_path)
        return PHY_OK;
    phy_output_close(out);
    return phy_fail_memory(host, "a path", strlen(label));
}

void phy_memory_files_close(struct phy_memory_files *memory)
{
    for (size_t i = 0; i < memory->count; i++)
        close(memory->files[i].fd);
    memory->count = 0;
}

/* An earlier run's file may be longer; its size is then as durable as what the journal claims of it. */
static int cut_off(int fd, uint64_t bytes)
{
    struct stat file;
    if (fstat(fd, &file) != 0)
        return errno;
    if ((uint64_t)file.st_size <= bytes)
        return 0;
    return ftruncate(fd, (off_t)bytes) == 0 ? phy_fsync(fd) : errno;
}

enum phy_status phy_output_open_file(const struct phy_output *out, const char *name, uint64_t bytes, int *fd)
{
    *fd = out->memory ? open_in_memory(out->memory, name)
                      : openat(out->partial_fd, name, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0666);
    if (*fd < 0)
        return phy_output_fail(out, name, errno);
    int error = 0;
    while (bytes > 0 && fallocate(*fd, 0, 0, (off_t)bytes) != 0) {
        error = errno;
        if (error != EINTR)
            break;
        error = 0;
    }
    if (error == EOPNOTSUPP || error == ENOSYS || error == EINVAL)
        error = 0;
    if (!error && bytes > 0)
        error = cut_off(*fd, bytes);
    if (!error)
        return PHY_OK;
    close_descriptor(fd);
    return phy_output_fail(out, name, error);
}

/* ---- publishing ---- */

static bool cannot_rename_so(int error)
{
    return error == EINVAL || error == ENOSYS || error == ENOTSUP;
}

/* renameat2(NOREPLACE); where the file system has no such thing, look first and rename. Returns an errno value. */
static int rename_new(int from_fd, const char *from, int to_fd, const char *to)
{
    struct stat there;
    if (renameat2(from_fd, from, to_fd, to, RENAME_NOREPLACE) == 0)
        return 0;
    if (!cannot_rename_so(errno))
        return errno;
    if (fstatat(to_fd, to, &there, AT_SYMLINK_NOFOLLOW) == 0)
        return EEXIST;
    return renameat(from_fd, from, to_fd, to) == 0 ? 0 : errno;
}

/* Put `from` at `to`, which exists; what was there ends up at `from` (*old_name is NULL) or, without RENAME_EXCHANGE,
 * aside in to_fd as *old_name, for the caller to delete. */
static int rename_over(const struct phy_output *out, int from_fd, const char *from, int to_fd, const char *to,
                       char **old_name)
{
    *old_name = NULL;
    if (renameat2(from_fd, from, to_fd, to, RENAME_EXCHANGE) == 0)
        return 0;
    if (!cannot_rename_so(errno))
        return errno;
    char *aside = join(".", to, ".physarium-old");
    if (!aside)
        return ENOMEM;
    int error = phy_remove_tree(to_fd, aside);
    if (!error && renameat(to_fd, to, to_fd, aside) != 0)
        error = errno;
    if (!error && renameat(from_fd, from, to_fd, to) != 0) {
        error = errno;
        if (renameat(to_fd, aside, to_fd, to) != 0)
            phy_warn(out->params.host, "%s: the earlier output is now named %s", out->path, aside);
    }
    if (error)
        phy_free(aside);
    else
        *old_name = aside;
    return error;
}

/* One final name; deletes what was there. */
static int put_in_place(const struct phy_output *out, int from_fd, const char *from, const char *to)
{
    struct stat there;
    if (fstatat(out->parent_fd, to, &there, AT_SYMLINK_NOFOLLOW) != 0)
        return rename_new(from_fd, from, out->parent_fd, to);
    char *old_name;
    int error = rename_over(out, from_fd, from, out->parent_fd, to, &old_name);
    if (error)
        return error;
    phy_fsync_directory(out->parent_fd);
    int removed = old_name ? phy_remove_tree(out->parent_fd, old_name) : phy_remove_tree(from_fd, from);
    if (removed)
        phy_warn(out->params.host, "%s: the output that it replaced could not be removed: %s", out->path,
                 strerror(removed));
    phy_free(old_name);
    return 0;
}

enum phy_status phy_output_publish(struct phy_output *out)
{
    enum phy_status status = phy_output_check_existing(out);
    if (status == PHY_OK)
        status = phy_output_check_entries(out);
    if (status != PHY_OK)
        return status;
    int error = unlinkat(out->reports_fd, PHY_OUTPUT_JOURNAL, 0) == 0 ? 0 : errno;
    out->resumable = out->resumable && error != 0;
    if (!error)
        error = phy_fsync_directory(out->reports_fd);
    if (!error && out->params.without_reports && unlinkat(out->partial_fd, PHY_OUTPUT_REPORTS, AT_REMOVEDIR) != 0)
        error = errno;
    if (!error)
        error = phy_fsync_directory(out->partial_fd);
    if (!error && out->params.single_file) {
        if (!out->params.without_reports)
            error = put_in_place(out, out->partial_fd, PHY_OUTPUT_REPORTS, out->reports_name);
        if (!error)
            error = put_in_place(out, out->partial_fd, out->name, out->name);
        if (!error)
            phy_remove_tree(out->parent_fd, out->partial_name);
    } else if (!error) {
        error = put_in_place(out, out->parent_fd, out->partial_name, out->name);
    }
    if (!error)
        error = phy_fsync_directory(out->parent_fd);
    if (error == EEXIST)
        return phy_fail(out->params.host, PHY_ERR_USAGE, "%s: something took this name while we worked", out->path);
    return error ? phy_output_fail(out, "", error) : PHY_OK;
}

void phy_output_discard(struct phy_output *out)
{
    if (out->partial_fd >= 0)
        phy_remove_tree(out->parent_fd, out->partial_name);
}

void phy_output_close(struct phy_output *out)
{
    close_partial(out);
    close_descriptor(&out->parent_fd);
    phy_free(out->path);
    phy_free(out->partial_name);
    phy_free(out->partial_path);
    phy_free(out->reports_name);
    out->path = out->partial_name = out->partial_path = out->reports_name = NULL;
    out->name = NULL;
}
