/* SPDX-License-Identifier: Apache-2.0 */
/* What the fuzz targets share: the entry that libFuzzer or short_driver.c calls, and a host that checks what is logged.
 */
#ifndef PHY_TESTS_FUZZ_FUZZ_H
#define PHY_TESTS_FUZZ_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A broken promise ends the run, whatever NDEBUG says. */
#define FUZZ_CHECK(condition)                                                                                          \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);                                            \
            abort();                                                                                                   \
        }                                                                                                              \
    } while (0)

/* One line of valid UTF-8 of at most 1023 bytes, without control characters. */
static inline void fuzz_log(void *user, enum phy_log_level level, const char *line)
{
    size_t bytes = strlen(line);
    FUZZ_CHECK(bytes <= 1023);
    for (size_t i = 0; i < bytes;) {
        unsigned code = 0;
        size_t length = phy_utf8_sequence(line + i, bytes - i, &code);
        FUZZ_CHECK(length > 0 && code >= 0x20 && (code < 0x7F || code > 0x9F));
        i += length;
    }
    if (level == PHY_LOG_ERROR)
        ++*(unsigned *)user;
}

/* One error line for a failure, none for success. */
static inline struct phy_host fuzz_host(unsigned *errors)
{
    *errors = 0;
    return (struct phy_host){.user = errors, .log = fuzz_log};
}

#endif
