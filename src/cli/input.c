/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cli.h"

bool phy_read_file(const char *path, char **text, size_t *bytes)
{
    struct stat there;
    FILE *from = strcmp(path, "-") == 0 ? stdin : fopen(path, "rbe");
    size_t capacity = 1 << 16;
    *bytes = 0;
    *text = NULL;
    if (from && fstat(fileno(from), &there) == 0 && S_ISDIR(there.st_mode))
        errno = EISDIR;
    else if (from)
        *text = malloc(capacity);
    while (*text) {
        *bytes += fread(*text + *bytes, 1, capacity - *bytes, from);
        if (*bytes < capacity)
            break;
        char *larger = realloc(*text, capacity *= 2);
        if (!larger) {
            free(*text);
            *text = NULL;
            errno = ENOMEM;
        } else {
            *text = larger;
        }
    }
    int error = *text && ferror(from) ? EIO : *text ? 0 : errno;
    if (from && from != stdin)
        fclose(from);
    if (error && *text)
        free(*text);
    errno = error;
    return !error;
}

const char *phy_file_name(const char *path)
{
    return strcmp(path, "-") == 0 ? "standard input" : path;
}

bool phy_parse_ids(const char *text, uint32_t *ids, size_t *count)
{
    *count = 0;
    while (*text) {
        char *end;
        errno = 0;
        unsigned long long id = strtoull(text, &end, 10);
        if (*text < '0' || *text > '9' || errno || id > UINT32_MAX || (*end && *end != ',') || (*end && !end[1]))
            return false;
        ids[(*count)++] = (uint32_t)id;
        text = *end ? end + 1 : end;
    }
    return true;
}

bool phy_parse_layers(const char *text, struct phy_target_params *targets)
{
    unsigned long first, last;
    char *end;
    if (*text < '0' || *text > '9')
        return false;
    first = last = strtoul(text, &end, 10);
    if (*end == '-' && end[1] >= '0' && end[1] <= '9')
        last = strtoul(end + 1, &end, 10);
    if (*end || first > last || last >= PHY_NO_LAYER)
        return false;
    targets->has_layers = true;
    targets->first_layer = (uint32_t)first;
    targets->last_layer = (uint32_t)last;
    return true;
}
