/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include "base/whole_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/io.h"
#include "base/log.h"

enum phy_status phy_write_whole_file(const char *path, phy_fill_file *fill, const void *user,
                                     const struct phy_host *host)
{
    size_t bytes = strlen(path) + 40;
    char *partial = phy_alloc(bytes, 1);
    if (!partial)
        return phy_fail_memory(host, "a path", bytes);
    snprintf(partial, bytes, "%s.partial-%ld", path, (long)getpid());
    int fd = open(partial, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    int error = fd < 0 ? errno : fill(user, fd);
    if (fd >= 0) {
        int close_error = phy_close(fd);
        error = error ? error : close_error;
        if (!error && rename(partial, path) != 0)
            error = errno;
        if (error)
            unlink(partial);
    }
    phy_free(partial);
    return error ? phy_fail(host, PHY_ERR_IO, "%s: %s", path, strerror(error)) : PHY_OK;
}
