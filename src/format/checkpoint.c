/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include "physarium/checkpoint.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/io.h"
#include "base/log.h"
#include "format/array.h"
#include "format/checkpoint_parts.h"
#include "format/safetensors.h"

/* ---- files ---- */

struct phy_file_id phy_file_id_of(const struct stat *status)
{
    return (struct phy_file_id){
        .device = (uint64_t)status->st_dev,
        .inode = (uint64_t)status->st_ino,
        .bytes = (uint64_t)status->st_size,
        .mtime_ns = (int64_t)((uint64_t)status->st_mtim.tv_sec * 1000000000 + (uint64_t)status->st_mtim.tv_nsec),
    };
}

bool phy_file_id_equal(const struct phy_file_id *a, const struct phy_file_id *b)
{
    return a->device == b->device && a->inode == b->inode && a->bytes == b->bytes && a->mtime_ns == b->mtime_ns;
}

bool phy_entry_exists(int dir_fd, const char *name)
{
    struct stat found;
    return fstatat(dir_fd, name, &found, AT_SYMLINK_NOFOLLOW) == 0;
}

enum phy_status phy_open_regular(int *fd, struct phy_file_id *id, int dir_fd, const char *name, const char *label,
                                 const struct phy_host *host)
{
    struct stat found;
    *fd = openat(dir_fd, name, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (*fd < 0) {
        int error = errno;
        if (error == ENOENT || error == ELOOP || error == ENOTDIR)
            return phy_fail(host, PHY_ERR_FORMAT, "%s: missing%s", label,
                            phy_entry_exists(dir_fd, name) ? ": a link that leads nowhere"
                                                           : "; is the download complete?");
        if (error == ENXIO || error == ENODEV)
            return phy_fail(host, PHY_ERR_FORMAT, "%s: not a regular file", label);
        return phy_fail(host, PHY_ERR_IO, "%s: %s", label, strerror(error));
    }
    if (fstat(*fd, &found) != 0)
        return phy_fail(host, PHY_ERR_IO, "%s: %s", label, strerror(errno));
    if (!S_ISREG(found.st_mode))
        return phy_fail(host, PHY_ERR_FORMAT, "%s: not a regular file", label);
    *id = phy_file_id_of(&found);
    return PHY_OK;
}

static void close_if_open(int *fd)
{
    if (*fd >= 0)
        phy_close(*fd);
    *fd = -1;
}

/* ---- shards ---- */

enum phy_status phy_checkpoint_add_shard(struct phy_checkpoint *cp, const char *name, size_t name_bytes)
{
    struct phy_shard *shards =
        phy_array_reserve(cp->shards, &cp->shard_capacity, cp->shard_count + 1, sizeof *cp->shards);
    if (shards)
        cp->shards = shards;
    char *copy = shards ? phy_strndup(name, name_bytes) : NULL;
    if (!copy)
        return phy_fail_memory(cp->host, "a shard's name", name_bytes);
    shards[cp->shard_count++] = (struct phy_shard){.name = copy, .fd = -1};
    return PHY_OK;
}

static int compare_shards(const void *a, const void *b)
{
    return strcmp(((const struct phy_shard *)a)->name, ((const struct phy_shard *)b)->name);
}

enum phy_status phy_checkpoint_open_shards(struct phy_checkpoint *cp)
{
    if (!phy_array_sort(cp->shards, cp->shard_count, sizeof *cp->shards, compare_shards))
        return phy_fail_memory(cp->host, "the list of shards", cp->shard_count * sizeof *cp->shards);
    for (size_t i = 0; i < cp->shard_count; i++) {
        struct phy_shard *shard = &cp->shards[i];
        const char *label = cp->is_directory ? shard->name : cp->label;
        enum phy_status status = PHY_OK;
        if (shard->fd < 0)
            status = phy_open_regular(&shard->fd, &shard->id, cp->dir_fd, shard->name, label, cp->host);
        if (!status)
            status = cp->container == PHY_CONTAINER_GGUF
                         ? phy_checkpoint_read_gguf(&shard->table, shard->fd, shard->id.bytes, label, cp->host)
                         : phy_safetensors_read(&shard->table, shard->fd, shard->id.bytes, label, cp->host);
        if (status)
            return status;
        shard->tensor_begin = cp->tensor_count;
        cp->tensor_count += shard->table.count;
    }
    return PHY_OK;
}

/* ---- opening ---- */

/* Rule I1's other half: a directory without an index. */
static enum phy_status open_unindexed(struct phy_checkpoint *cp)
{
    enum phy_status status = phy_checkpoint_add_shard(cp, PHY_SINGLE_NAME, strlen(PHY_SINGLE_NAME));
    return status ? status : phy_checkpoint_open_shards(cp);
}

static enum phy_status open_directory(struct phy_checkpoint *cp)
{
    enum phy_status status;
    cp->is_directory = true;
    cp->has_index = phy_entry_exists(cp->dir_fd, PHY_INDEX_NAME);
    if (cp->has_index)
        status = phy_checkpoint_open_by_index(cp);
    else if (phy_entry_exists(cp->dir_fd, PHY_SINGLE_NAME))
        status = open_unindexed(cp);
    else
        status = phy_checkpoint_explain_no_weights(cp);
    return status ? status : phy_checkpoint_find_sidecars(cp);
}

/* A single file that begins with GGUF or is called so. A file that cannot be read is found out later. */
static bool is_gguf(const char *name, int fd, uint64_t file_bytes)
{
    char magic[4];
    size_t length = strlen(name);
    return (length >= 5 && strcmp(name + length - 5, ".gguf") == 0) ||
           (file_bytes >= sizeof magic && phy_pread_all(fd, magic, sizeof magic, 0) == 0 &&
            memcmp(magic, "GGUF", sizeof magic) == 0);
}

/* The file is open as fd, which becomes the checkpoint's. */
static enum phy_status open_file(struct phy_checkpoint *cp, int fd, const struct stat *found)
{
    size_t end = strlen(cp->path), begin;
    while (end > 1 && cp->path[end - 1] == '/')
        end--;
    for (begin = end; begin > 0 && cp->path[begin - 1] != '/';)
        begin--;
    enum phy_status status = phy_checkpoint_add_shard(cp, cp->path + begin, end - begin);
    if (status) {
        close_if_open(&fd);
        return status;
    }
    cp->shards[0].fd = fd;
    cp->shards[0].id = phy_file_id_of(found);
    if (is_gguf(cp->shards[0].name, fd, cp->shards[0].id.bytes))
        cp->container = PHY_CONTAINER_GGUF;
    /* Its folder, to see later whether the path still leads to the same file; it need not be readable. */
    char *folder = begin ? phy_strndup(cp->path, begin) : phy_strndup(".", 1);
    if (!folder)
        return phy_fail_memory(cp->host, "a path", begin);
    cp->dir_fd = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
    int error = errno;
    phy_free(folder);
    if (cp->dir_fd < 0)
        return phy_fail(cp->host, PHY_ERR_IO, "%s: its folder: %s", cp->label, strerror(error));
    return phy_checkpoint_open_shards(cp);
}

static enum phy_status open_path(struct phy_checkpoint *cp)
{
    struct stat found;
    int fd = open(cp->path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &found) != 0) {
        int error = errno;
        close_if_open(&fd);
        return phy_fail(cp->host, PHY_ERR_IO, "%s: %s", cp->label, strerror(error));
    }
    if (S_ISREG(found.st_mode))
        return open_file(cp, fd, &found);
    if (S_ISDIR(found.st_mode)) {
        cp->dir_fd = fd;
        return open_directory(cp);
    }
    close_if_open(&fd);
    return phy_fail(cp->host, PHY_ERR_FORMAT, "%s: neither a directory nor a regular file", cp->label);
}

/* Messages hold 1023 bytes, a path up to 4095: what is long loses its beginning, at a character. */
static char *label_of(const char *path)
{
    enum { LONGEST = 400 };
    size_t bytes = strlen(path);
    if (bytes <= LONGEST)
        return phy_strndup(path, bytes);
    const char *end = path + bytes - LONGEST;
    while ((*end & 0xC0) == 0x80)
        end++;
    size_t kept = strlen(end);
    char *label = phy_alloc(kept + 4, 1);
    if (label) {
        memcpy(label, "...", 3);
        memcpy(label + 3, end, kept + 1);
    }
    return label;
}

enum phy_status phy_checkpoint_open(struct phy_checkpoint **out, const char *path,
                                    const struct phy_checkpoint_params *params)
{
    static const struct phy_checkpoint_params defaults = {0};
    if (!params)
        params = &defaults;
    *out = NULL;
    struct phy_checkpoint *cp = phy_zalloc(1, sizeof *cp);
    if (!cp)
        return phy_fail_memory(params->host, "a checkpoint", sizeof *cp);
    cp->host = params->host;
    cp->follow_symlinks = params->follow_symlinks;
    cp->dir_fd = -1;
    cp->path = phy_strndup(path, strlen(path));
    cp->label = cp->path ? label_of(path) : NULL;
    enum phy_status status = cp->label ? open_path(cp) : phy_fail_memory(cp->host, "a path", strlen(path));
    if (status)
        phy_checkpoint_close(&cp);
    *out = cp;
    return status;
}

void phy_checkpoint_close(struct phy_checkpoint **checkpoint)
{
    struct phy_checkpoint *cp = *checkpoint;
    *checkpoint = NULL;
    if (!cp)
        return;
    for (size_t i = 0; i < cp->shard_count; i++) {
        close_if_open(&cp->shards[i].fd);
        phy_tensor_table_free(&cp->shards[i].table);
        phy_free(cp->shards[i].name);
    }
    for (size_t i = 0; i < cp->sidecar_count; i++)
        phy_free(cp->sidecars[i].path);
    close_if_open(&cp->dir_fd);
    phy_free(cp->shards);
    phy_free(cp->sidecars);
    phy_free(cp->label);
    phy_free(cp->path);
    phy_free(cp);
}

/* ---- asking ---- */

enum phy_container phy_checkpoint_container(const struct phy_checkpoint *checkpoint)
{
    return checkpoint->container;
}

bool phy_checkpoint_is_directory(const struct phy_checkpoint *checkpoint)
{
    return checkpoint->is_directory;
}

bool phy_checkpoint_has_index(const struct phy_checkpoint *checkpoint)
{
    return checkpoint->has_index;
}

size_t phy_checkpoint_shard_count(const struct phy_checkpoint *checkpoint)
{
    return checkpoint->shard_count;
}

void phy_checkpoint_shard(const struct phy_checkpoint *checkpoint, size_t shard, struct phy_shard_info *out)
{
    assert(shard < checkpoint->shard_count);
    const struct phy_shard *s = &checkpoint->shards[shard];
    *out = (struct phy_shard_info){
        .name = s->name,
        .file_bytes = s->id.bytes,
        .header_bytes = s->table.header_bytes,
        .tensor_begin = s->tensor_begin,
        .tensor_end = s->tensor_begin + s->table.count,
        .has_metadata_format_pt = s->table.has_metadata_format_pt,
    };
}

size_t phy_checkpoint_tensor_count(const struct phy_checkpoint *checkpoint)
{
    return checkpoint->tensor_count;
}

/* The shard that holds a tensor: the last one that begins at or before it and is not empty. */
static size_t shard_of(const struct phy_checkpoint *cp, size_t index)
{
    size_t low = 0, high = cp->shard_count;
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (cp->shards[middle].tensor_begin <= index)
            low = middle;
        else
            high = middle;
    }
    return low;
}

void phy_checkpoint_tensor(const struct phy_checkpoint *checkpoint, size_t index, struct phy_tensor_info *out)
{
    assert(index < checkpoint->tensor_count);
    size_t shard = shard_of(checkpoint, index);
    const struct phy_shard *s = &checkpoint->shards[shard];
    const struct phy_tensor_row *row = &s->table.rows[index - s->tensor_begin];
    *out = (struct phy_tensor_info){
        .name = row->name,
        .name_bytes = row->name_bytes,
        .dtype = row->dtype,
        .element_bits = row->element_bits,
        .dim_count = row->dim_count,
        .shape = s->table.dims + row->first_dim,
        .at = s->table.header_bytes + row->begin,
        .bytes = row->bytes,
        .shard = (uint32_t)shard,
        .header_index = row->header_index,
    };
}

static const char *shard_label(const struct phy_checkpoint *cp, size_t shard)
{
    return cp->is_directory ? cp->shards[shard].name : cp->label;
}

enum phy_status phy_checkpoint_read(const struct phy_checkpoint *checkpoint, size_t shard, uint64_t at, void *buffer,
                                    size_t bytes)
{
    assert(shard < checkpoint->shard_count);
    int error = phy_pread_all(checkpoint->shards[shard].fd, buffer, bytes, at);
    if (error == ENODATA)
        return phy_fail(checkpoint->host, PHY_ERR_IO, "%s: has shrunk while it was read",
                        shard_label(checkpoint, shard));
    if (error)
        return phy_fail(checkpoint->host, PHY_ERR_IO, "%s: reading: %s", shard_label(checkpoint, shard),
                        strerror(error));
    return PHY_OK;
}

enum phy_status phy_checkpoint_unchanged(const struct phy_checkpoint *checkpoint)
{
    for (size_t i = 0; i < checkpoint->shard_count; i++) {
        const struct phy_shard *shard = &checkpoint->shards[i];
        struct stat open_file_now, path_now;
        bool same =
            fstat(shard->fd, &open_file_now) == 0 && fstatat(checkpoint->dir_fd, shard->name, &path_now, 0) == 0;
        if (same) {
            struct phy_file_id a = phy_file_id_of(&open_file_now), b = phy_file_id_of(&path_now);
            same = phy_file_id_equal(&a, &shard->id) && phy_file_id_equal(&b, &shard->id);
        }
        if (!same)
            return phy_fail(checkpoint->host, PHY_ERR_IO, "%s: has changed while it was read",
                            shard_label(checkpoint, i));
    }
    return PHY_OK;
}

static_assert((int)PHY_QUOTED_NAME_BYTES == (int)PHY_QUOTED_BYTES, "phy_quote writes into the caller's buffer");

const char *phy_quote_name(char out[PHY_QUOTED_NAME_BYTES], const char *name, size_t name_bytes)
{
    return phy_quote(out, name, name_bytes);
}

/* ---- for the domain: format/checkpoint_files.h ---- */

const char *phy_checkpoint_path(const struct phy_checkpoint *checkpoint)
{
    return checkpoint->path;
}

int phy_checkpoint_shard_fd(const struct phy_checkpoint *checkpoint, size_t shard)
{
    assert(shard < checkpoint->shard_count);
    return checkpoint->shards[shard].fd;
}

int64_t phy_checkpoint_shard_mtime_ns(const struct phy_checkpoint *checkpoint, size_t shard)
{
    assert(shard < checkpoint->shard_count);
    return checkpoint->shards[shard].id.mtime_ns;
}
