/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include "bench/whole_text.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "base/alloc.h"
#include "base/io.h"
#include "base/log.h"

static const long long most_bytes = 64LL << 20;

enum phy_status phy_bench_read_text(char **out, const char *path, const struct phy_host *host)
{
    *out = NULL;
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st)) {
        int error = errno;
        if (fd >= 0)
            phy_close(fd);
        return phy_fail(host, PHY_ERR_IO, "%s: %s", path, strerror(error));
    }
    enum phy_status status = PHY_OK;
    char *text = NULL;
    if (!S_ISREG(st.st_mode))
        status = phy_fail(host, PHY_ERR_IO, "%s: not a file", path);
    else if (st.st_size > most_bytes)
        status = phy_fail(host, PHY_ERR_LIMIT, "%s: longer than 64 MiB", path);
    else if (!(text = phy_alloc((size_t)st.st_size + 1, 1)))
        status = phy_fail_memory(host, "a file", (size_t)st.st_size);
    if (status == PHY_OK) {
        int error = phy_pread_all(fd, text, (size_t)st.st_size, 0);
        text[st.st_size] = 0;
        if (error)
            status = phy_fail(host, PHY_ERR_IO, "%s: %s", path, strerror(error));
    }
    phy_close(fd);
    if (status) {
        phy_free(text);
        return status;
    }
    *out = text;
    return PHY_OK;
}
