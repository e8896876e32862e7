/* SPDX-License-Identifier: Apache-2.0 */
/* One line to the host's log, formatted once, where the fact is known. */
#ifndef PHY_BASE_LOG_H
#define PHY_BASE_LOG_H

#include <stddef.h>

#include "physarium/host.h"

/* Longest line with its NUL: with the newline that a program adds it is at most 1024 bytes. */
enum { PHY_LOG_LINE_BYTES = 1024 };
/* Room for a quoted name: 128 bytes of name, each at most 6 characters, the quotes, the note about its length. */
enum { PHY_QUOTED_BYTES = 128 * 6 + 64 };

/* Log one error line and return `status`, so that detection reads `return phy_fail(host, PHY_ERR_FORMAT, "...", ...)`.
 * Control characters and bytes that are not UTF-8 are escaped, and a line that is too long is cut at a character.
 * host may be NULL. Thread-safe if the host's log is. */
enum phy_status phy_fail(const struct phy_host *host, enum phy_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void phy_warn(const struct phy_host *host, const char *format, ...) __attribute__((format(printf, 2, 3)));
void phy_note(const struct phy_host *host, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* PHY_ERR_MEMORY with the one sentence for it: what could not be allocated. */
enum phy_status phy_fail_memory(const struct phy_host *host, const char *what, size_t bytes);

/* Write `name` in double quotes, escaped and cut by rule E3 (docs/checkpoint-rules.md), to out; returns out, so that it
 * can stand in a printf argument list. name need not be NUL-terminated or UTF-8. */
const char *phy_quote(char out[PHY_QUOTED_BYTES], const char *name, size_t name_bytes);

/* Length in bytes (1..4) of the well-formed UTF-8 sequence at text, 0 if there is none. bytes >= 1. RFC 3629: no
 * overlong forms, no surrogates, nothing above U+10FFFF. *code_point may be NULL. */
size_t phy_utf8_sequence(const char *text, size_t bytes, unsigned *code_point);

/* True if the host asked to stop. host may be NULL. */
bool phy_cancelled(const struct phy_host *host);
/* PHY_OK; PHY_ERR_INTERRUPTED, and the line that says so, if the host asked to stop. */
enum phy_status phy_check_cancelled(const struct phy_host *host);
void phy_report_progress(const struct phy_host *host, const char *stage, const char *unit, uint64_t done,
                         uint64_t total);

#endif
