/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include "surgery/sidecars.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/checked_math.h"
#include "base/io.h"
#include "base/log.h"
#include "format/checkpoint_files.h"

enum { CHUNK_BYTES = 1 << 20 };

uint64_t phy_sidecars_bytes(const struct phy_checkpoint *checkpoint)
{
    uint64_t total = 0;
    for (size_t i = 0; i < phy_checkpoint_sidecar_count(checkpoint); i++) {
        struct phy_sidecar sidecar;
        phy_checkpoint_sidecar(checkpoint, i, &sidecar);
        if (!phy_add_u64(total, sidecar.bytes, &total))
            return UINT64_MAX;
    }
    return total;
}

static enum phy_status copy_bytes(const struct phy_sidecar *sidecar, int from, int to, void *chunk,
                                  const struct phy_output *output)
{
    const struct phy_host *host = output->params.host;
    char quoted[PHY_QUOTED_BYTES];
    struct stat now;
    for (uint64_t at = 0; at < sidecar->bytes;) {
        if (phy_cancelled(host))
            return PHY_ERR_INTERRUPTED;
        size_t bytes = (size_t)phy_min_u64(sidecar->bytes - at, CHUNK_BYTES);
        int error = phy_pread_all(from, chunk, bytes, at);
        if (error)
            return phy_fail(host, PHY_ERR_IO, "%s: %s", phy_quote(quoted, sidecar->path, strlen(sidecar->path)),
                            error == ENODATA ? "it has shrunk while it was read" : strerror(error));
        error = phy_pwrite_all(to, chunk, bytes, at);
        if (error)
            return phy_output_fail(output, sidecar->path, error);
        at += bytes;
    }
    if (fstat(from, &now) != 0 || (uint64_t)now.st_size != sidecar->bytes)
        return phy_fail(host, PHY_ERR_IO, "%s: its size changed while it was read",
                        phy_quote(quoted, sidecar->path, strlen(sidecar->path)));
    return PHY_OK;
}

static enum phy_status copy_file(const struct phy_checkpoint *checkpoint, size_t index,
                                 const struct phy_sidecar *sidecar, void *chunk, const struct phy_output *output)
{
    int from, to;
    enum phy_status status = phy_checkpoint_sidecar_open(checkpoint, index, &from);
    if (status != PHY_OK)
        return status;
    to = openat(output->partial_fd, sidecar->path, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0666);
    if (to < 0) {
        status = phy_output_fail(output, sidecar->path, errno);
    } else {
        status = copy_bytes(sidecar, from, to, chunk, output);
        int error = status == PHY_OK ? phy_fsync(to) : 0;
        int close_error = phy_close(to);
        error = error ? error : close_error;
        if (status == PHY_OK && error)
            status = phy_output_fail(output, sidecar->path, error);
    }
    close(from);
    return status;
}

static enum phy_status sync_folder(const struct phy_output *output, const char *path)
{
    int fd = openat(output->partial_fd, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    int error = fd < 0 ? errno : phy_fsync_directory(fd);
    if (fd >= 0)
        close(fd);
    return error ? phy_output_fail(output, path, error) : PHY_OK;
}

enum phy_status phy_sidecars_copy(const struct phy_checkpoint *checkpoint, const struct phy_output *output)
{
    const size_t count = phy_checkpoint_sidecar_count(checkpoint);
    struct phy_sidecar sidecar;
    void *chunk = phy_alloc(CHUNK_BYTES, 1);
    if (!chunk)
        return phy_fail_memory(output->params.host, "copying files", CHUNK_BYTES);
    enum phy_status status = PHY_OK;
    for (size_t i = 0; status == PHY_OK && i < count; i++) {
        phy_checkpoint_sidecar(checkpoint, i, &sidecar);
        if (!sidecar.is_directory)
            status = copy_file(checkpoint, i, &sidecar, chunk, output);
        else if (mkdirat(output->partial_fd, sidecar.path, 0777) != 0 && errno != EEXIST)
            status = phy_output_fail(output, sidecar.path, errno);
    }
    for (size_t i = 0; status == PHY_OK && i < count; i++) {
        phy_checkpoint_sidecar(checkpoint, i, &sidecar);
        if (sidecar.is_directory)
            status = sync_folder(output, sidecar.path);
    }
    phy_free(chunk);
    return status;
}

bool phy_sidecars_are_there(const struct phy_checkpoint *checkpoint, const struct phy_output *output)
{
    for (size_t i = 0; i < phy_checkpoint_sidecar_count(checkpoint); i++) {
        struct phy_sidecar sidecar;
        struct stat there;
        phy_checkpoint_sidecar(checkpoint, i, &sidecar);
        if (fstatat(output->partial_fd, sidecar.path, &there, AT_SYMLINK_NOFOLLOW) != 0)
            return false;
        if (sidecar.is_directory ? !S_ISDIR(there.st_mode)
                                 : !S_ISREG(there.st_mode) || (uint64_t)there.st_size != sidecar.bytes)
            return false;
    }
    return true;
}
