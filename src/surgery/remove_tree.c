/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include "surgery/remove_tree.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Each level holds a descriptor and a stack frame; a deeper tree is not one that we wrote. */
enum { DEEPEST = 200 };

static int remove_below(int dir_fd, const char *name, int depth);

static int empty_directory(int fd, const char *kept, int depth)
{
    int own = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = own >= 0 ? fdopendir(own) : NULL;
    if (!dir) {
        int error = errno;
        if (own >= 0)
            close(own);
        return error;
    }
    int error = 0;
    for (struct dirent *entry; !error && (errno = 0, entry = readdir(dir));) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0 ||
            (kept && strcmp(entry->d_name, kept) == 0))
            continue;
        error = remove_below(fd, entry->d_name, depth + 1);
    }
    if (!error)
        error = errno;
    closedir(dir);
    return error;
}

static int remove_below(int dir_fd, const char *name, int depth)
{
    if (depth > DEEPEST)
        return ELOOP;
    if (unlinkat(dir_fd, name, 0) == 0 || errno == ENOENT)
        return 0;
    if (errno != EISDIR && errno != EPERM)
        return errno;
    int fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return errno;
    int error = empty_directory(fd, NULL, depth);
    close(fd);
    if (error)
        return error;
    return unlinkat(dir_fd, name, AT_REMOVEDIR) == 0 || errno == ENOENT ? 0 : errno;
}

int phy_remove_tree(int dir_fd, const char *name)
{
    return remove_below(dir_fd, name, 0);
}

int phy_remove_contents(int dir_fd, const char *kept)
{
    return empty_directory(dir_fd, kept, 0);
}
