/* SPDX-License-Identifier: Apache-2.0 */
/* cmocka and what its header needs before it, and a host that remembers what was logged. */
#ifndef PHY_TESTS_SUPPORT_TEST_H
#define PHY_TESTS_SUPPORT_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "physarium/host.h"

/* Lines logged so far, by level; the last of each. */
struct log_record {
    unsigned errors, warnings, notes;
    char error[1100], warning[1100], note[1100];
};

static inline void record_line(void *user, enum phy_log_level level, const char *line)
{
    struct log_record *r = user;
    char *to = level == PHY_LOG_ERROR ? r->error : level == PHY_LOG_WARNING ? r->warning : r->note;
    unsigned *count = level == PHY_LOG_ERROR ? &r->errors : level == PHY_LOG_WARNING ? &r->warnings : &r->notes;
    snprintf(to, sizeof r->error, "%s", line);
    (*count)++;
}

static inline struct phy_host recording_host(struct log_record *record)
{
    *record = (struct log_record){0};
    return (struct phy_host){.user = record, .log = record_line};
}

#endif
