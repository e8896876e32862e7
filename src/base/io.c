/* SPDX-License-Identifier: Apache-2.0 */
#include "base/io.h"

#include <errno.h>
#include <unistd.h>

static phy_io_hook *hook;
static void *hook_user;

void phy_io_set_hook(phy_io_hook *new_hook, void *user)
{
    hook = new_hook;
    hook_user = user;
}

static int ask_hook(enum phy_io_call call, int fd, size_t *bytes, uint64_t at)
{
    size_t none = 0;
    return hook ? hook(hook_user, call, fd, bytes ? bytes : &none, at) : 0;
}

/* Largest piece for one system call: Linux moves at most 0x7ffff000 bytes. */
static size_t piece_of(size_t bytes)
{
    return bytes < (size_t)1 << 30 ? bytes : (size_t)1 << 30;
}

int phy_pread_all(int fd, void *buffer, size_t bytes, uint64_t at)
{
    char *to = buffer;
    while (bytes > 0) {
        size_t piece = piece_of(bytes);
        int injected = ask_hook(PHY_IO_READ, fd, &piece, at);
        if (injected)
            return injected;
        ssize_t got = pread(fd, to, piece, (off_t)at);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return errno;
        if (got == 0)
            return ENODATA;
        to += got;
        at += (uint64_t)got;
        bytes -= (size_t)got;
    }
    return 0;
}

int phy_pwrite_all(int fd, const void *buffer, size_t bytes, uint64_t at)
{
    const char *from = buffer;
    while (bytes > 0) {
        size_t piece = piece_of(bytes);
        int injected = ask_hook(PHY_IO_WRITE, fd, &piece, at);
        if (injected)
            return injected;
        ssize_t put = pwrite(fd, from, piece, (off_t)at);
        if (put < 0 && errno == EINTR)
            continue;
        if (put <= 0)
            return put < 0 ? errno : EIO;
        from += put;
        at += (uint64_t)put;
        bytes -= (size_t)put;
    }
    return 0;
}

int phy_write_all(int fd, const void *buffer, size_t bytes)
{
    const char *from = buffer;
    while (bytes > 0) {
        size_t piece = piece_of(bytes);
        int injected = ask_hook(PHY_IO_WRITE, fd, &piece, 0);
        if (injected)
            return injected;
        ssize_t put = write(fd, from, piece);
        if (put < 0 && errno == EINTR)
            continue;
        if (put <= 0)
            return put < 0 ? errno : EIO;
        from += put;
        bytes -= (size_t)put;
    }
    return 0;
}

int phy_fsync(int fd)
{
    int injected = ask_hook(PHY_IO_FSYNC, fd, NULL, 0);
    if (injected)
        return injected;
    while (fsync(fd) != 0) {
        if (errno != EINTR)
            return errno;
    }
    return 0;
}

int phy_fsync_directory(int fd)
{
    int error = phy_fsync(fd);
    return error == EINVAL || error == ENOTSUP ? 0 : error;
}

int phy_close(int fd)
{
    int injected = ask_hook(PHY_IO_CLOSE, fd, NULL, 0);
    /* On Linux the descriptor is gone even when close reports an error, so it is never tried again. */
    int error = close(fd) != 0 && errno != EINTR ? errno : 0;
    return injected ? injected : error;
}
