/* SPDX-License-Identifier: Apache-2.0 */
#include "base/json_write.h"

#include <inttypes.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/io.h"

static void flush(struct phy_json_writer *json)
{
    if (!json->error)
        json->error = phy_write_all(json->fd, json->buffer, json->used);
    json->used = 0;
}

static void put(struct phy_json_writer *json, const char *text, size_t bytes)
{
    while (bytes > 0) {
        size_t piece = sizeof json->buffer - json->used;
        piece = piece < bytes ? piece : bytes;
        memcpy(json->buffer + json->used, text, piece);
        json->used += piece;
        text += piece;
        bytes -= piece;
        if (json->used == sizeof json->buffer)
            flush(json);
    }
}

static void put_line(struct phy_json_writer *json)
{
    if (!json->indent)
        return;
    put(json, "\n", 1);
    for (unsigned i = 0; i < json->depth; i++)
        put(json, "  ", 2);
}

/* What stands before a key, or before a value that has none. */
static void begin_item(struct phy_json_writer *json)
{
    if (!json->after_key) {
        if (json->after_item)
            put(json, ",", 1);
        if (json->depth > 0)
            put_line(json);
    }
    json->after_key = false;
    json->after_item = true;
}

static void put_quoted(struct phy_json_writer *json, const char *text, size_t bytes)
{
    put(json, "\"", 1);
    size_t from = 0;
    for (size_t i = 0; i < bytes; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c >= 0x20 && c != '"' && c != '\\')
            continue;
        char escape[8];
        int length = c == '"' || c == '\\' ? snprintf(escape, sizeof escape, "\\%c", c)
                     : c == '\n'           ? snprintf(escape, sizeof escape, "\\n")
                                           : snprintf(escape, sizeof escape, "\\u%04x", c);
        put(json, text + from, i - from);
        put(json, escape, (size_t)length);
        from = i + 1;
    }
    put(json, text + from, bytes - from);
    put(json, "\"", 1);
}

void phy_jsonw_start(struct phy_json_writer *json, int fd, bool indent)
{
    json->fd = fd;
    json->error = 0;
    json->indent = indent;
    json->after_item = json->after_key = false;
    json->depth = 0;
    json->used = 0;
}

int phy_jsonw_finish(struct phy_json_writer *json)
{
    put(json, "\n", 1);
    flush(json);
    return json->error;
}

void phy_jsonw_open(struct phy_json_writer *json, char bracket)
{
    begin_item(json);
    put(json, &bracket, 1);
    json->depth++;
    json->after_item = false;
}

void phy_jsonw_close(struct phy_json_writer *json, char bracket)
{
    json->depth--;
    if (json->after_item)
        put_line(json);
    put(json, &bracket, 1);
    json->after_item = true;
}

void phy_jsonw_key(struct phy_json_writer *json, const char *name, size_t bytes)
{
    begin_item(json);
    put_quoted(json, name, bytes);
    put(json, ": ", json->indent ? 2 : 1);
    json->after_key = true;
}

void phy_jsonw_string(struct phy_json_writer *json, const char *text, size_t bytes)
{
    begin_item(json);
    put_quoted(json, text, bytes);
}

void phy_jsonw_u64(struct phy_json_writer *json, uint64_t value)
{
    char text[24];
    snprintf(text, sizeof text, "%" PRIu64, value);
    phy_jsonw_raw(json, text);
}

void phy_jsonw_raw(struct phy_json_writer *json, const char *text)
{
    begin_item(json);
    put(json, text, strlen(text));
}

void phy_jsonw_member_text(struct phy_json_writer *json, const char *name, const char *text)
{
    phy_jsonw_key(json, name, strlen(name));
    phy_jsonw_string(json, text, strlen(text));
}

void phy_jsonw_member_raw(struct phy_json_writer *json, const char *name, const char *raw)
{
    phy_jsonw_key(json, name, strlen(name));
    phy_jsonw_raw(json, raw);
}

void phy_jsonw_member_bool(struct phy_json_writer *json, const char *name, bool value)
{
    phy_jsonw_member_raw(json, name, value ? "true" : "false");
}

void phy_jsonw_member_open(struct phy_json_writer *json, const char *name, char bracket)
{
    phy_jsonw_key(json, name, strlen(name));
    phy_jsonw_open(json, bracket);
}

const char *phy_jsonw_double(char out[PHY_JSON_NUMBER_BYTES], double value)
{
    if (value == (double)(int64_t)(value > -1e15 && value < 1e15 ? value : 0.5)) {
        snprintf(out, PHY_JSON_NUMBER_BYTES, "%" PRId64 ".0", (int64_t)value);
        return out;
    }
    for (int digits = 1; digits <= 17; digits++) {
        snprintf(out, PHY_JSON_NUMBER_BYTES - 2, "%.*g", digits, value);
        if (strtod(out, NULL) == value)
            break;
    }
    /* The round trip above was in the process' own locale; JSON's point is a point. */
    char *point = strstr(out, localeconv()->decimal_point);
    if (point)
        *point = '.';
    if (!strpbrk(out, ".e"))
        strcat(out, ".0");
    return out;
}
