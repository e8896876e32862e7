/* SPDX-License-Identifier: Apache-2.0 */
#include "audit/small_file.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "base/alloc.h"
#include "base/io.h"

int phy_read_small_file(const char *path, size_t max_bytes, char **text, size_t *bytes)
{
    struct stat found;
    size_t size = 0;
    /* A pipe must not block us. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    int error = fd < 0 || fstat(fd, &found) != 0 ? errno : 0;
    *text = NULL;
    if (!error && !S_ISREG(found.st_mode))
        error = S_ISDIR(found.st_mode) ? EISDIR : ESPIPE;
    else if (!error && (size_t)found.st_size > max_bytes)
        error = EFBIG;
    if (!error) {
        size = (size_t)found.st_size;
        *text = phy_alloc(size + 1, 1);
        error = *text ? phy_pread_all(fd, *text, size, 0) : ENOMEM;
    }
    if (fd >= 0)
        phy_close(fd);
    if (error) {
        phy_free(*text);
        *text = NULL;
        return error;
    }
    (*text)[size] = 0;
    if (bytes)
        *bytes = size;
    return 0;
}
