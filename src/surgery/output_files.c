/* SPDX-License-Identifier: Apache-2.0 */
/* The files of one command, looked at together before its work. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/alloc.h"
#include "base/log.h"
#include "base/path_name.h"
#include "base/whole_file.h"
#include "physarium/checkpoint.h"
#include "surgery/output_dir.h"

/* What is before the path's last part: "." of a bare name. The caller's; NULL without memory. */
static char *folder_of(const char *path)
{
    size_t bytes = phy_path_bytes(path);
    while (bytes > 0 && path[bytes - 1] != '/')
        bytes--;
    return bytes == 0 ? phy_strndup(".", 1) : phy_strndup(path, bytes > 1 ? bytes - 1 : 1);
}

/* The path with every link resolved, and what is not there yet as it is: equal for two names of one file. To be freed;
 * NULL without memory. */
static char *resolve(const char *path)
{
    char *out = realpath(path, NULL);
    if (out || strcmp(path, ".") == 0 || strcmp(path, "/") == 0)
        return out ? out : strdup(path);
    char *folder = folder_of(path), *name = phy_path_last_part(path);
    char *above = folder && name ? resolve(folder) : NULL;
    if (above && asprintf(&out, "%s/%s", above, name) < 0)
        out = NULL;
    free(above);
    phy_free(name);
    phy_free(folder);
    return out;
}

static bool same_place(const char *a, const char *b)
{
    char *real_a = resolve(a), *real_b = resolve(b);
    const bool same = real_a && real_b && strcmp(real_a, real_b) == 0;
    free(real_a);
    free(real_b);
    return same;
}

/* One of the directories that are made when there is something to write, and is not there yet. */
static bool will_be_made(const struct phy_output_files *files, const char *directory)
{
    struct stat there;
    bool found = false;
    for (size_t i = 0; i < files->directory_count && !found; i++)
        found = files->directories[i] && stat(files->directories[i], &there) != 0 &&
                same_place(files->directories[i], directory);
    return found;
}

static enum phy_status check_file(const struct phy_output_files *files, const char *path)
{
    char *folder = folder_of(path);
    if (!folder)
        return phy_fail_memory(files->host, "a path", strlen(path));
    enum phy_status status = will_be_made(files, folder)
                                 ? PHY_OK
                                 : phy_output_file_check(path, files->inputs, files->input_count, files->host);
    phy_free(folder);
    return status;
}

static enum phy_status check_directory(const struct phy_output_files *files, const char *directory)
{
    struct stat there;
    if (stat(directory, &there) != 0) {
        char *name = phy_strndup(directory, phy_path_bytes(directory)); /* a slash after it is welcome here */
        enum phy_status status = name ? phy_output_file_check(name, files->inputs, files->input_count, files->host)
                                      : phy_fail_memory(files->host, "a path", strlen(directory));
        phy_free(name);
        return status;
    }
    return S_ISDIR(there.st_mode) ? PHY_OK
                                  : phy_fail(files->host, PHY_ERR_USAGE,
                                             "%s: no directory, where files are to be written into one", directory);
}

enum phy_status phy_output_files_check(const struct phy_output_files *files)
{
    enum phy_status status = PHY_OK;
    for (size_t i = 0; i < files->directory_count && status == PHY_OK; i++)
        status = files->directories[i] ? check_directory(files, files->directories[i]) : PHY_OK;
    for (size_t i = 0; i < files->count && status == PHY_OK; i++)
        status = files->paths[i] ? check_file(files, files->paths[i]) : PHY_OK;
    for (size_t i = 0; i < files->count && status == PHY_OK; i++) {
        for (size_t k = 0; k < i && status == PHY_OK; k++) {
            const char *a = files->paths[k], *b = files->paths[i];
            if (a && b && same_place(a, b) && !phy_is_written_through(b))
                status = phy_fail(files->host, PHY_ERR_USAGE, "%s: two outputs of one name; nothing was written", b);
        }
    }
    return status;
}
