/* SPDX-License-Identifier: Apache-2.0 */
/* One folder of a fuzzing process, its files written again and again. */
#ifndef PHY_TESTS_FUZZ_STORE_FOLDER_H
#define PHY_TESTS_FUZZ_STORE_FOLDER_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include "fuzz/fuzz.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

static char store_folder[64];

static inline void store_remove(void)
{
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", store_folder);
    FUZZ_CHECK(system(command) == 0);
}

/* In memory where there is such a place. */
static inline void store_make(void)
{
    if (store_folder[0])
        return;
    sprintf(store_folder, "%s/physarium-fuzz-XXXXXX", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    FUZZ_CHECK(mkdtemp(store_folder));
    atexit(store_remove);
}

/* `data`, or zeros when it is NULL. */
static inline void store_file(const char *name, const void *data, size_t bytes)
{
    char path[128];
    snprintf(path, sizeof path, "%s/%s", store_folder, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    FUZZ_CHECK(fd >= 0);
    FUZZ_CHECK(data ? write(fd, data, bytes) == (ssize_t)bytes : ftruncate(fd, (off_t)bytes) == 0);
    close(fd);
}

#endif
