/* SPDX-License-Identifier: Apache-2.0 */
/* What a donor's directory holds beside its weights, and what of it is copied: rules I1, I9, I10 and W4. */
#define _GNU_SOURCE
#include <assert.h>
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/io.h"
#include "base/log.h"
#include "format/array.h"
#include "format/checkpoint_parts.h"
#include "format/name_set.h"

/* Folders in folders that are followed (links can make more of them than there are), and entries altogether. */
enum { MOST_DEPTH = 64, MOST_SIDECARS = 1000000, MOST_WARNINGS = 100 };

/* ---- listing a folder ---- */

struct listing {
    char **names; /* (count) in byte order, so that two runs see the same order */
    size_t count, capacity;
};

static void free_listing(struct listing *list)
{
    for (size_t i = 0; i < list->count; i++)
        phy_free(list->names[i]);
    phy_free(list->names);
    *list = (struct listing){0};
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Add the name and sort at the end (name NULL). Returns 0 or ENOMEM. */
static int add_name(struct listing *list, const char *name)
{
    if (!name)
        return phy_array_sort(list->names, list->count, sizeof *list->names, compare_names) ? 0 : ENOMEM;
    char **names = phy_array_reserve(list->names, &list->capacity, list->count + 1, sizeof *names);
    if (names)
        list->names = names;
    char *copy = names ? phy_strndup(name, strlen(name)) : NULL;
    if (!copy)
        return ENOMEM;
    names[list->count++] = copy;
    return 0;
}

/* Returns 0 or an errno value; the listing is to be freed either way. */
static int list_folder(struct listing *list, int dir_fd)
{
    *list = (struct listing){0};
    int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), error = 0;
    DIR *folder = fd >= 0 ? fdopendir(fd) : NULL;
    if (!folder) {
        error = errno;
        if (fd >= 0)
            phy_close(fd);
        return error;
    }
    while (!error) {
        errno = 0;
        struct dirent *entry = readdir(folder);
        if (!entry) {
            error = errno ? errno : add_name(list, NULL);
            break;
        }
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            error = add_name(list, entry->d_name);
    }
    closedir(folder);
    return error;
}

static enum phy_status fail_listing(const struct phy_host *host, const char *label, int error)
{
    return error == ENOMEM ? phy_fail_memory(host, "a list of files", PATH_MAX)
                           : phy_fail(host, PHY_ERR_IO, "%s: listing the folder: %s", label, strerror(error));
}

static bool ends_with(const char *name, const char *ending)
{
    size_t bytes = strlen(name), tail = strlen(ending);
    return bytes >= tail && strcmp(name + bytes - tail, ending) == 0;
}

/* ---- rule I1: no weights ---- */

enum phy_status phy_checkpoint_explain_no_weights(const struct phy_checkpoint *cp)
{
    struct listing list;
    const char *pickle = NULL, *other = NULL;
    char text[PHY_QUOTED_BYTES];
    bool store = false; /* our FFN stores and vindexes have an index.json, models a config.json */
    int error = list_folder(&list, cp->dir_fd);
    enum phy_status status;
    for (size_t i = 0; i < list.count; i++) {
        const char *name = list.names[i];
        struct stat found;
        if (fstatat(cp->dir_fd, name, &found, 0) == 0 && S_ISDIR(found.st_mode))
            continue;
        store |= strcmp(name, "index.json") == 0;
        if (!pickle && (ends_with(name, ".bin") || ends_with(name, ".pt") || ends_with(name, ".pth")))
            pickle = name;
        if (!other && (ends_with(name, ".safetensors") || ends_with(name, ".gguf")))
            other = name;
    }
    if (error)
        status = fail_listing(cp->host, cp->label, error);
    else if (store)
        status = phy_fail(cp->host, PHY_ERR_FORMAT,
                          "%s: no %s, but an index.json, as FFN stores and vindexes have it: --ffn takes those, beside "
                          "the model",
                          cp->label, PHY_SINGLE_NAME);
    else if (pickle)
        status =
            phy_fail(cp->host, PHY_ERR_UNSUPPORTED,
                     "%s: no %s; %s may be a pickle, which runs code when it is read: convert it to safetensors first",
                     cp->label, PHY_SINGLE_NAME, phy_quote(text, pickle, strlen(pickle)));
    else
        status = phy_fail(cp->host, PHY_ERR_FORMAT, "%s: neither %s nor %s is there%s%s", cp->label, PHY_SINGLE_NAME,
                          PHY_INDEX_NAME, other ? "; it can be read as a single file: " : "",
                          other ? phy_quote(text, other, strlen(other)) : "");
    free_listing(&list);
    return status;
}

/* ---- rule I10: links ---- */

struct walk {
    struct phy_checkpoint *cp;
    struct phy_name_set weights; /* the shards' names, which are no sidecars */
    char root[PATH_MAX];         /* the donor's directory, links resolved */
    size_t warnings;
};

/* One folder on the way from the top to where the walk is. */
struct level {
    const struct level *above;
    const char *path; /* relative, "" for the top */
    unsigned depth;
    int fd;
    dev_t device;
    ino_t inode;
};

static bool is_hub_blob(char *real)
{
    char *name = strrchr(real, '/');
    if (!name)
        return false;
    size_t digits = strlen(name + 1), at = 1;
    while (isxdigit((unsigned char)name[at]))
        at++;
    *name = 0;
    char *folder = strrchr(real, '/');
    if ((digits != 40 && digits != 64) || at != digits + 1 || !folder || strcmp(folder, "/blobs") != 0)
        return false;
    *folder = 0;
    char beside[PATH_MAX + 16];
    struct stat found;
    snprintf(beside, sizeof beside, "%s/snapshots", real);
    return stat(beside, &found) == 0 && S_ISDIR(found.st_mode);
}

/* Where the link leads must be inside the donor or in the hub's cache beside it. */
static bool may_follow(const struct walk *w, const char *path)
{
    char joined[2 * PATH_MAX], real[PATH_MAX];
    size_t root = strlen(w->root);
    if (w->cp->follow_symlinks)
        return true;
    if (snprintf(joined, sizeof joined, "%s/%s", w->root, path) >= PATH_MAX || !realpath(joined, real))
        return false;
    if (strncmp(real, w->root, root) == 0 && (root == 1 || real[root] == '/' || real[root] == 0))
        return true;
    return is_hub_blob(real);
}

static enum phy_status check_link(const struct walk *w, const struct level *level, const char *name, const char *path,
                                  struct stat *target)
{
    const struct phy_host *host = w->cp->host;
    if (fstatat(level->fd, name, target, 0) != 0)
        return phy_fail(host, PHY_ERR_FORMAT, "%s: a link that leads nowhere: %s", path, strerror(errno));
    if (!may_follow(w, path))
        return phy_fail(host, PHY_ERR_FORMAT,
                        "%s: a link to a place outside the donor, which --follow-symlinks would copy", path);
    for (const struct level *up = level; S_ISDIR(target->st_mode) && up; up = up->above) {
        if (up->device == target->st_dev && up->inode == target->st_ino)
            return phy_fail(host, PHY_ERR_FORMAT, "%s: a link to a folder that it is in", path);
    }
    return PHY_OK;
}

/* ---- rule W4: the walk ---- */

/* What is never copied: version control, caches, our own unfinished and earlier work. */
static bool is_excluded(const struct walk *w, const struct level *level, const char *name)
{
    if (strcmp(name, ".git") == 0 || strcmp(name, ".cache") == 0)
        return true;
    if (name[0] == '.' && ends_with(name, ".physarium-partial"))
        return true;
    if (level->above)
        return false;
    return strcmp(name, "physarium") == 0 || phy_name_set_find(&w->weights, 0, name, strlen(name));
}

static enum phy_status add_sidecar(struct walk *w, const char *path, const struct stat *found)
{
    struct phy_checkpoint *cp = w->cp;
    if (cp->sidecar_count == MOST_SIDECARS)
        return phy_fail(cp->host, PHY_ERR_LIMIT, "%s: more than %d files beside the weights", cp->label, MOST_SIDECARS);
    struct phy_sidecar_entry *all =
        phy_array_reserve(cp->sidecars, &cp->sidecar_capacity, cp->sidecar_count + 1, sizeof *all);
    if (all)
        cp->sidecars = all;
    char *copy = all ? phy_strndup(path, strlen(path)) : NULL;
    if (!copy)
        return phy_fail_memory(cp->host, "a list of files", strlen(path));
    all[cp->sidecar_count++] =
        (struct phy_sidecar_entry){.path = copy, .is_directory = S_ISDIR(found->st_mode), .id = phy_file_id_of(found)};
    return PHY_OK;
}

static void warn_limited(struct walk *w, const char *path, const char *fact)
{
    if (++w->warnings <= MOST_WARNINGS)
        phy_warn(w->cp->host, "%s: %s", path, fact);
    else if (w->warnings == MOST_WARNINGS + 1)
        phy_warn(w->cp->host, "%s: more such files are not listed", w->cp->label);
}

static enum phy_status walk_folder(struct walk *w, struct level *level);

static enum phy_status walk_into(struct walk *w, const struct level *level, const char *name, const char *path)
{
    struct level below = {.above = level, .path = path, .depth = level->depth + 1};
    if (below.depth > MOST_DEPTH)
        return phy_fail(w->cp->host, PHY_ERR_LIMIT, "%s: more than %d folders deep", w->cp->label, MOST_DEPTH);
    below.fd = openat(level->fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (below.fd < 0)
        return fail_listing(w->cp->host, path, errno);
    enum phy_status status = walk_folder(w, &below);
    phy_close(below.fd);
    return status;
}

static enum phy_status visit(struct walk *w, const struct level *level, const char *name, const char *path)
{
    struct stat found;
    enum phy_status status = PHY_OK;
    if (fstatat(level->fd, name, &found, AT_SYMLINK_NOFOLLOW) != 0)
        return phy_fail(w->cp->host, PHY_ERR_IO, "%s: %s", path, strerror(errno));
    if (S_ISLNK(found.st_mode)) {
        if (!level->above && strcmp(name, PHY_INDEX_NAME) == 0) {
            if (fstatat(level->fd, name, &found, 0) != 0) /* it was read through this link a moment ago */
                return phy_fail(w->cp->host, PHY_ERR_IO, "%s: %s", path, strerror(errno));
        } else {
            status = check_link(w, level, name, path, &found);
        }
    }
    if (status)
        return status;
    if (S_ISDIR(found.st_mode)) {
        status = add_sidecar(w, path, &found);
        return status ? status : walk_into(w, level, name, path);
    }
    if (!S_ISREG(found.st_mode)) {
        warn_limited(w, path,
                     S_ISFIFO(found.st_mode)   ? "a named pipe is not copied"
                     : S_ISSOCK(found.st_mode) ? "a socket is not copied"
                                               : "a device is not copied");
        return PHY_OK;
    }
    if (ends_with(name, ".safetensors"))
        warn_limited(w, path, "not part of the model: copied as it is");
    return add_sidecar(w, path, &found);
}

/* A run's reports are left out without a word; another thing of that name cannot be copied to where ours will be. */
static void warn_of_reports_place(struct walk *w, const struct level *level, const char *name)
{
    struct stat found;
    if (!level->above && strcmp(name, "physarium") == 0 &&
        (fstatat(level->fd, name, &found, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISDIR(found.st_mode)))
        warn_limited(w, name, "not copied: the reports take its place");
}

static enum phy_status walk_folder(struct walk *w, struct level *level)
{
    struct phy_checkpoint *cp = w->cp;
    struct listing list = {0};
    struct stat here = {0};
    enum phy_status status = PHY_OK;
    int error = fstat(level->fd, &here) != 0 ? errno : list_folder(&list, level->fd);
    level->device = here.st_dev;
    level->inode = here.st_ino;
    if (error)
        status = fail_listing(cp->host, *level->path ? level->path : cp->label, error);
    for (size_t i = 0; i < list.count && !status; i++) {
        const char *name = list.names[i];
        if (is_excluded(w, level, name)) {
            warn_of_reports_place(w, level, name);
            continue;
        }
        size_t bytes = strlen(level->path) + strlen(name) + 2;
        char *path = phy_alloc(bytes, 1);
        if (!path) {
            status = phy_fail_memory(cp->host, "a path", bytes);
            break;
        }
        snprintf(path, bytes, "%s%s%s", level->path, *level->path ? "/" : "", name);
        status = visit(w, level, name, path);
        phy_free(path);
    }
    free_listing(&list);
    return status;
}

enum phy_status phy_checkpoint_find_sidecars(struct phy_checkpoint *cp)
{
    struct walk *w = phy_zalloc(1, sizeof *w);
    enum phy_status status = w ? PHY_OK : phy_fail_memory(cp->host, "a list of files", sizeof *w);
    if (w && !realpath(cp->path, w->root))
        status = phy_fail(cp->host, PHY_ERR_IO, "%s: %s", cp->label, strerror(errno));
    for (size_t i = 0; i < cp->shard_count && !status; i++) {
        const char *name = cp->shards[i].name;
        if (phy_name_set_add(&w->weights, 0, name, strlen(name), 0, NULL) == PHY_NAME_NO_MEMORY)
            status = phy_fail_memory(cp->host, "a list of files", strlen(name));
    }
    if (!status) {
        w->cp = cp;
        status = walk_folder(w, &(struct level){.path = "", .fd = cp->dir_fd});
    }
    if (w)
        phy_name_set_free(&w->weights);
    phy_free(w);
    return status;
}

/* ---- format/checkpoint_files.h ---- */

size_t phy_checkpoint_sidecar_count(const struct phy_checkpoint *checkpoint)
{
    return checkpoint->sidecar_count;
}

void phy_checkpoint_sidecar(const struct phy_checkpoint *checkpoint, size_t index, struct phy_sidecar *out)
{
    assert(index < checkpoint->sidecar_count);
    const struct phy_sidecar_entry *entry = &checkpoint->sidecars[index];
    *out = (struct phy_sidecar){
        .path = entry->path, .is_directory = entry->is_directory, .bytes = entry->is_directory ? 0 : entry->id.bytes};
}

enum phy_status phy_checkpoint_sidecar_open(const struct phy_checkpoint *checkpoint, size_t index, int *fd)
{
    assert(index < checkpoint->sidecar_count && !checkpoint->sidecars[index].is_directory);
    const struct phy_sidecar_entry *entry = &checkpoint->sidecars[index];
    struct stat found;
    *fd = openat(checkpoint->dir_fd, entry->path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (*fd >= 0 && fstat(*fd, &found) == 0) {
        /* A link that now leads elsewhere would carry another file into the output. */
        struct phy_file_id now = phy_file_id_of(&found);
        if (S_ISREG(found.st_mode) && phy_file_id_equal(&now, &entry->id))
            return PHY_OK;
        phy_close(*fd);
        *fd = -1;
        return phy_fail(checkpoint->host, PHY_ERR_IO, "%s: has changed since the donor was checked", entry->path);
    }
    int error = errno;
    if (*fd >= 0)
        phy_close(*fd);
    *fd = -1;
    return phy_fail(checkpoint->host, PHY_ERR_IO, "%s: %s", entry->path, strerror(error));
}
