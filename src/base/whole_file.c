/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include "base/whole_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/io.h"
#include "base/log.h"

/* What must not be renamed away: a device, a pipe, a terminal, and the names of open files (/dev/stdout,
 * /proc/self/fd), whatever they lead to. */
bool phy_is_written_through(const char *path)
{
    struct stat there;
    if (stat(path, &there) != 0 || S_ISDIR(there.st_mode))
        return false;
    return !S_ISREG(there.st_mode) || strncmp(path, "/dev/", 5) == 0 || strncmp(path, "/proc/", 6) == 0;
}

static int copy_all(int from, int to)
{
    char block[1 << 16];
    off_t bytes = lseek(from, 0, SEEK_END);
    if (bytes < 0)
        return errno;
    for (uint64_t at = 0; at < (uint64_t)bytes;) {
        size_t part = (uint64_t)bytes - at < sizeof block ? (size_t)((uint64_t)bytes - at) : sizeof block;
        int error = phy_pread_all(from, block, part, at);
        if (!error)
            error = phy_write_all(to, block, part);
        if (error)
            return error;
        at += part;
    }
    return 0;
}

/* A pipe cannot be written at a position, which `fill` may do: it fills a file in memory. */
static int write_through(const char *path, phy_fill_file *fill, const void *user)
{
    int memory = memfd_create("physarium", MFD_CLOEXEC);
    int error = memory < 0 ? errno : fill(user, memory);
    if (!error) {
        int fd = open(path, O_WRONLY | O_APPEND | O_CLOEXEC);
        error = fd < 0 ? errno : copy_all(memory, fd);
        int close_error = fd < 0 ? 0 : phy_close(fd);
        error = error ? error : close_error;
    }
    if (memory >= 0)
        close(memory);
    return error;
}

/* A file without a name beside `path`, of which a killed run leaves nothing; -1 where the file system has none. */
static int open_unnamed(const char *path)
{
    const char *slash = strrchr(path, '/');
    const size_t bytes = slash ? (size_t)(slash - path) + 1 : 0;
    char *directory = phy_alloc(bytes + 2, 1);
    if (!directory)
        return -1;
    memcpy(directory, path, bytes);
    memcpy(directory + bytes, ".", 2);
    int fd = open(directory, O_RDWR | O_TMPFILE | O_CLOEXEC, 0666);
    phy_free(directory);
    return fd;
}

static int name_file(int fd, const char *path)
{
    char opened[40];
    snprintf(opened, sizeof opened, "/proc/self/fd/%d", fd);
    return linkat(AT_FDCWD, opened, AT_FDCWD, path, AT_SYMLINK_FOLLOW) == 0 ? 0 : errno;
}

/* *named: it had to be given the partial name. */
static int open_beside(const char *path, const char *partial, bool *named)
{
    int fd = access("/proc/self/fd", X_OK) == 0 ? open_unnamed(path) : -1;
    *named = fd < 0;
    return *named ? open(partial, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666) : fd;
}

static int write_beside(const char *path, const char *partial, phy_fill_file *fill, const void *user)
{
    bool named;
    int fd = open_beside(path, partial, &named);
    if (fd < 0)
        return errno;
    int error = fill(user, fd);
    if (!error && !named) {
        error = name_file(fd, partial);
        named = !error;
    }
    int close_error = phy_close(fd);
    error = error ? error : close_error;
    if (!error && rename(partial, path) != 0)
        error = errno;
    if (error && named)
        unlink(partial);
    return error;
}

/* Where the bytes go (a link stays, the file that it leads to is replaced) and the name beside it, to be freed. */
static bool find_target(const char *path, char **real, char **partial)
{
    *real = realpath(path, NULL);
    const char *target = *real ? *real : path;
    size_t bytes = strlen(target) + 40;
    *partial = phy_alloc(bytes, 1);
    if (*partial)
        snprintf(*partial, bytes, "%s.partial-%ld", target, (long)getpid());
    else
        free(*real);
    return *partial != NULL;
}

enum phy_status phy_write_whole_file(const char *path, phy_fill_file *fill, const void *user,
                                     const struct phy_host *host)
{
    char *real, *partial;
    if (!find_target(path, &real, &partial))
        return phy_fail_memory(host, "a path", strlen(path));
    int error = phy_is_written_through(path) ? write_through(path, fill, user)
                                             : write_beside(real ? real : path, partial, fill, user);
    phy_free(partial);
    free(real);
    if (error < 0)
        return (enum phy_status) - error;
    return error ? phy_fail(host, PHY_ERR_IO, "%s: %s", path, strerror(error)) : PHY_OK;
}

int phy_try_whole_file(const char *path)
{
    static const char page[4096];
    char *real, *partial;
    bool named;
    if (phy_is_written_through(path))
        return 0;
    if (!find_target(path, &real, &partial))
        return ENOMEM;
    int fd = open_beside(real ? real : path, partial, &named);
    int error = fd < 0 ? errno : phy_write_all(fd, page, sizeof page);
    if (fd >= 0 && named)
        unlink(partial);
    if (fd >= 0)
        close(fd);
    phy_free(partial);
    free(real);
    return error;
}
