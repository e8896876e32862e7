/* SPDX-License-Identifier: Apache-2.0 */
#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

size_t phy_utf8_sequence(const char *text, size_t bytes, unsigned *code_point)
{
    const unsigned char *s = (const unsigned char *)text;
    unsigned code;
    size_t length;
    if (s[0] < 0x80) {
        code = s[0];
        length = 1;
    } else if (s[0] >= 0xC2 && s[0] <= 0xDF) {
        code = s[0] & 0x1Fu;
        length = 2;
    } else if (s[0] >= 0xE0 && s[0] <= 0xEF) {
        code = s[0] & 0x0Fu;
        length = 3;
    } else if (s[0] >= 0xF0 && s[0] <= 0xF4) {
        code = s[0] & 0x07u;
        length = 4;
    } else {
        return 0;
    }
    if (length > bytes)
        return 0;
    for (size_t i = 1; i < length; i++) {
        if ((s[i] & 0xC0) != 0x80)
            return 0;
        code = code << 6 | (s[i] & 0x3Fu);
    }
    if ((length == 3 && (code < 0x800 || (code >= 0xD800 && code <= 0xDFFF))) ||
        (length == 4 && (code < 0x10000 || code > 0x10FFFF)))
        return 0;
    if (code_point)
        *code_point = code;
    return length;
}

/* E3: what must not reach a terminal as it is. */
static bool must_escape(unsigned code)
{
    return code < 0x20 || (code >= 0x7F && code <= 0x9F) || code == 0x200E || code == 0x200F ||
           (code >= 0x2028 && code <= 0x202E) || (code >= 0x2066 && code <= 0x2069) || code == 0xFEFF;
}

/* Append the escaped form of text to out (capacity with NUL); stops before a character that does not fit. Returns the
 * bytes written. `quotes` escapes " and \ too. */
static size_t escape_into(char *out, size_t capacity, const char *text, size_t bytes, bool quotes)
{
    size_t used = 0;
    for (size_t i = 0; i < bytes;) {
        char piece[8];
        unsigned code = 0;
        size_t length = phy_utf8_sequence(text + i, bytes - i, &code);
        size_t piece_bytes;
        if (length == 0) {
            length = 1;
            piece_bytes = (size_t)snprintf(piece, sizeof piece, "\\x%02x", (unsigned char)text[i]);
        } else if (must_escape(code)) {
            piece_bytes = (size_t)snprintf(piece, sizeof piece, "\\u%04x", code & 0xFFFFu);
        } else if (quotes && (code == '"' || code == '\\')) {
            piece[0] = '\\';
            piece[1] = (char)code;
            piece_bytes = 2;
        } else {
            memcpy(piece, text + i, length);
            piece_bytes = length;
        }
        if (used + piece_bytes + 1 > capacity)
            break;
        memcpy(out + used, piece, piece_bytes);
        used += piece_bytes;
        i += length;
    }
    out[used] = 0;
    return used;
}

const char *phy_quote(char out[PHY_QUOTED_BYTES], const char *name, size_t name_bytes)
{
    size_t shown = name_bytes;
    if (name_bytes > 128) {
        /* At most 96 bytes, and not through the middle of a character. */
        shown = 0;
        while (shown < 96) {
            size_t length = phy_utf8_sequence(name + shown, name_bytes - shown, NULL);
            length = length ? length : 1;
            if (shown + length > 96)
                break;
            shown += length;
        }
    }
    size_t used = 0;
    out[used++] = '"';
    used += escape_into(out + used, PHY_QUOTED_BYTES - 40, name, shown, true);
    out[used++] = '"';
    out[used] = 0;
    if (shown < name_bytes)
        snprintf(out + used, PHY_QUOTED_BYTES - used, "...(%zu bytes)", name_bytes);
    return out;
}

static void write_line(const struct phy_host *host, enum phy_log_level level, const char *format, va_list args)
{
    if (!host || !host->log)
        return;
    char raw[2048], line[PHY_LOG_LINE_BYTES];
    int length = vsnprintf(raw, sizeof raw, format, args);
    if (length < 0)
        length = 0;
    size_t bytes = (size_t)length < sizeof raw ? (size_t)length : sizeof raw - 1;
    escape_into(line, sizeof line, raw, bytes, false);
    host->log(host->user, level, line);
}

enum phy_status phy_fail(const struct phy_host *host, enum phy_status status, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    write_line(host, PHY_LOG_ERROR, format, args);
    va_end(args);
    return status;
}

enum phy_status phy_fail_memory(const struct phy_host *host, const char *what, size_t bytes)
{
    return phy_fail(host, PHY_ERR_MEMORY, "out of memory: %zu bytes for %s", bytes, what);
}

void phy_warn(const struct phy_host *host, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    write_line(host, PHY_LOG_WARNING, format, args);
    va_end(args);
}

void phy_note(const struct phy_host *host, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    write_line(host, PHY_LOG_NOTE, format, args);
    va_end(args);
}

bool phy_cancelled(const struct phy_host *host)
{
    return host && host->cancelled && host->cancelled(host->user);
}

enum phy_status phy_check_cancelled(const struct phy_host *host)
{
    return phy_cancelled(host) ? phy_fail(host, PHY_ERR_INTERRUPTED, "interrupted") : PHY_OK;
}

void phy_report_progress(const struct phy_host *host, const char *stage, const char *unit, uint64_t done,
                         uint64_t total)
{
    if (host && host->progress)
        host->progress(host->user, &(struct phy_progress){.stage = stage, .unit = unit, .done = done, .total = total});
}
