/* SPDX-License-Identifier: Apache-2.0 */
#include "base/path_name.h"

#include <string.h>

#include "base/alloc.h"

size_t phy_path_bytes(const char *path)
{
    size_t bytes = strlen(path);
    while (bytes > 1 && path[bytes - 1] == '/')
        bytes--;
    return bytes;
}

char *phy_path_last_part(const char *path)
{
    size_t end = phy_path_bytes(path), begin = end;
    while (begin > 0 && path[begin - 1] != '/')
        begin--;
    return phy_strndup(path + begin, end - begin);
}
