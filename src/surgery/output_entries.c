/* SPDX-License-Identifier: Apache-2.0 */
/* Whatever stands in the partial directory gets the output's name with it: so nothing may that the run does not make.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "surgery/output_dir.h"

enum { OPEN_DIRECTORY = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC };

/* A way down from the partial directory. */
struct way {
    const struct phy_output *out;
    char path[PATH_MAX]; /* of the entry at work, from there */
};

static bool is_made(const struct way *way, mode_t mode)
{
    const struct phy_output_params *params = &way->out->params;
    if (S_ISDIR(mode) && strcmp(way->path, PHY_OUTPUT_REPORTS) == 0)
        return true;
    if (S_ISREG(mode) && strcmp(way->path, PHY_OUTPUT_JOURNAL_PATH) == 0)
        return true;
    return (S_ISDIR(mode) || S_ISREG(mode)) && params->makes(params->user, way->path, S_ISDIR(mode));
}

static enum phy_status check_folder(struct way *way, int dir_fd, size_t path_bytes);

/* Its path is in the way. A folder is gone into. */
static enum phy_status check_entry(struct way *way, int dir_fd, const char *name, size_t path_bytes)
{
    const struct phy_output *out = way->out;
    struct stat entry;
    if (fstatat(dir_fd, name, &entry, AT_SYMLINK_NOFOLLOW) != 0)
        return errno == ENOENT ? PHY_OK : phy_output_fail(out, way->path, errno);
    if (path_bytes >= sizeof way->path || !is_made(way, entry.st_mode))
        return phy_fail(out->params.host, PHY_ERR_USAGE,
                        "%s/%s: this run did not make it, and it would be in the output: move it away",
                        out->partial_path, way->path);
    if (!S_ISDIR(entry.st_mode))
        return PHY_OK;
    int fd = openat(dir_fd, name, OPEN_DIRECTORY);
    if (fd < 0)
        return phy_output_fail(out, way->path, errno);
    enum phy_status status = check_folder(way, fd, path_bytes);
    close(fd);
    return status;
}

static enum phy_status check_folder(struct way *way, int dir_fd, size_t path_bytes)
{
    int own = openat(dir_fd, ".", OPEN_DIRECTORY);
    DIR *folder = own >= 0 ? fdopendir(own) : NULL;
    enum phy_status status = PHY_OK;
    if (!folder) {
        status = phy_output_fail(way->out, way->path, errno);
        if (own >= 0)
            close(own);
        return status;
    }
    struct dirent *entry = NULL;
    while (status == PHY_OK && (errno = 0, entry = readdir(folder))) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        int bytes = snprintf(way->path + path_bytes, sizeof way->path - path_bytes, "%s%s", path_bytes ? "/" : "",
                             entry->d_name);
        status = check_entry(way, dir_fd, entry->d_name, path_bytes + (size_t)bytes);
        way->path[path_bytes] = 0;
    }
    if (status == PHY_OK && errno)
        status = phy_output_fail(way->out, way->path, errno);
    closedir(folder);
    return status;
}

enum phy_status phy_output_check_entries(const struct phy_output *out)
{
    struct way way = {.out = out};
    return out->params.makes ? check_folder(&way, out->partial_fd, 0) : PHY_OK;
}
