/* SPDX-License-Identifier: Apache-2.0 */
#include "audit/small_file.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/io.h"

static int read_regular(int fd, size_t size, char **text)
{
    *text = phy_alloc(size + 1, 1);
    return *text ? phy_pread_all(fd, *text, size, 0) : ENOMEM;
}

/* A pipe, of which nobody knows the length. */
static int read_stream(int fd, size_t max_bytes, char **text, size_t *bytes)
{
    size_t room = 0;
    for (ssize_t count = 1; count;) {
        if (*bytes == room) {
            room = room ? 2 * room : 1 << 16;
            char *grown = phy_realloc(*text, room + 1, 1);
            if (!grown)
                return ENOMEM;
            *text = grown;
        }
        count = read(fd, *text + *bytes, room - *bytes);
        if (count < 0 && errno != EINTR)
            return errno;
        *bytes += count > 0 ? (size_t)count : 0;
        if (*bytes > max_bytes)
            return EFBIG;
    }
    return 0;
}

static int read_whole(int fd, bool streams, size_t max_bytes, char **text, size_t *bytes)
{
    struct stat found;
    *text = NULL;
    *bytes = 0;
    if (fd < 0 || fstat(fd, &found) != 0)
        return errno;
    if (S_ISDIR(found.st_mode))
        return EISDIR;
    int error;
    if (S_ISREG(found.st_mode) && (size_t)found.st_size > max_bytes) {
        error = EFBIG;
    } else if (S_ISREG(found.st_mode)) {
        *bytes = (size_t)found.st_size;
        error = read_regular(fd, *bytes, text);
    } else {
        error = streams ? read_stream(fd, max_bytes, text, bytes) : ESPIPE;
    }
    if (error) {
        phy_free(*text);
        *text = NULL;
        return error;
    }
    (*text)[*bytes] = 0;
    return 0;
}

int phy_read_small_file(const char *path, size_t max_bytes, char **text, size_t *bytes)
{
    size_t count;
    /* A pipe must not block us. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    int error = read_whole(fd, false, max_bytes, text, &count);
    if (fd >= 0)
        phy_close(fd);
    if (bytes)
        *bytes = count;
    return error;
}

int phy_read_named_file(const char *path, size_t max_bytes, char **text, size_t *bytes)
{
    size_t count;
    int fd = strcmp(path, "-") == 0 ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
    int error = read_whole(fd, true, max_bytes, text, &count);
    if (fd >= 0 && fd != STDIN_FILENO)
        phy_close(fd);
    if (bytes)
        *bytes = count;
    return error;
}
