/* SPDX-License-Identifier: Apache-2.0 */
#include "report/text.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/log.h"

void phy_text_free(struct phy_text *text)
{
    phy_free(text->data);
    *text = (struct phy_text){0};
}

static bool reserve(struct phy_text *text, size_t more)
{
    if (text->failed || more > SIZE_MAX / 4 - text->bytes) {
        text->failed = true;
        return false;
    }
    size_t needed = text->bytes + more + 1;
    if (needed <= text->capacity)
        return true;
    size_t capacity = text->capacity ? text->capacity : 1024;
    while (capacity < needed)
        capacity *= 2;
    char *grown = phy_realloc(text->data, capacity, 1);
    if (!grown) {
        text->failed = true;
        return false;
    }
    text->data = grown;
    text->capacity = capacity;
    return true;
}

void phy_text_bytes(struct phy_text *text, const char *data, size_t bytes)
{
    if (!reserve(text, bytes))
        return;
    memcpy(text->data + text->bytes, data, bytes);
    text->bytes += bytes;
    text->data[text->bytes] = 0;
}

void phy_text_put(struct phy_text *text, const char *string)
{
    phy_text_bytes(text, string, strlen(string));
}

void phy_text_printf(struct phy_text *text, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int length = vsnprintf(NULL, 0, format, args);
    va_end(args);
    if (length < 0 || !reserve(text, (size_t)length))
        return;
    va_start(args, format);
    vsnprintf(text->data + text->bytes, (size_t)length + 1, format, args);
    va_end(args);
    text->bytes += (size_t)length;
}

void phy_text_count(struct phy_text *text, uint64_t value)
{
    char digits[24], out[32];
    int length = snprintf(digits, sizeof digits, "%llu", (unsigned long long)value);
    size_t used = 0;
    for (int i = 0; i < length; i++) {
        if (i && (length - i) % 3 == 0)
            out[used++] = ',';
        out[used++] = digits[i];
    }
    phy_text_bytes(text, out, used);
}

void phy_text_decimal(struct phy_text *text, double value, int decimals)
{
    static const uint64_t powers[] = {1, 10, 100, 1000, 10000, 100000, 1000000, 10000000, 100000000, 1000000000};
    uint64_t scale = powers[decimals < 0 ? 0 : decimals > 9 ? 9 : decimals];
    double scaled = round(fabs(value) * (double)scale);
    if (!(scaled < 1e18)) {
        phy_text_put(text, "-");
        return;
    }
    uint64_t fixed = (uint64_t)scaled;
    phy_text_printf(text, "%s%llu", value < 0 && fixed ? "-" : "", (unsigned long long)(fixed / scale));
    if (scale > 1)
        phy_text_printf(text, ".%0*llu", decimals, (unsigned long long)(fixed % scale));
}

void phy_text_number(struct phy_text *text, double value)
{
    phy_text_decimal(text, value, 9);
    if (text->failed || !isfinite(value) || fabs(value) >= 1e9)
        return;
    while (text->data[text->bytes - 1] == '0')
        text->bytes--;
    if (text->data[text->bytes - 1] == '.')
        text->bytes--;
    text->data[text->bytes] = 0;
}

typedef void put_escaped(struct phy_text *text, const char *shown);

/* Put the name by E3 through `put`: in one piece, or a line character by character, which never cuts. */
static void put_name(struct phy_text *text, const char *name, enum phy_name_style style, put_escaped *put)
{
    char shown[PHY_QUOTED_BYTES];
    size_t bytes = name ? strlen(name) : 0;
    if (style != PHY_NAME_LINE) {
        phy_quote(shown, name, bytes);
        char *close = strrchr(shown, '"');
        if (style == PHY_NAME_BARE)
            memmove(close, close + 1, strlen(close)); /* keeps the note about the length, if there is one */
        put(text, style == PHY_NAME_BARE ? shown + 1 : shown);
        return;
    }
    struct phy_text line = {0};
    for (size_t i = 0, length; i < bytes; i += length) {
        length = phy_utf8_sequence(name + i, bytes - i, NULL);
        length = length ? length : 1;
        phy_quote(shown, name + i, length);
        bool plain = name[i] == '"' || name[i] == '\\';
        phy_text_bytes(&line, plain ? name + i : shown + 1, plain ? 1 : strlen(shown) - 2);
    }
    text->failed = text->failed || line.failed;
    if (!line.failed && line.data)
        put(text, line.data);
    phy_text_free(&line);
}

static void put_html(struct phy_text *text, const char *shown)
{
    for (const char *p = shown; *p; p++) {
        switch (*p) {
        case '&':
            phy_text_put(text, "&amp;");
            break;
        case '<':
            phy_text_put(text, "&lt;");
            break;
        case '>':
            phy_text_put(text, "&gt;");
            break;
        case '"':
            phy_text_put(text, "&quot;");
            break;
        case '\'':
            phy_text_put(text, "&#39;");
            break;
        default:
            phy_text_bytes(text, p, 1);
        }
    }
}

void phy_text_html_name(struct phy_text *text, const char *name, enum phy_name_style style)
{
    put_name(text, name, style, put_html);
}

static bool is_word(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static void put_markdown(struct phy_text *text, const char *shown)
{
    for (const char *p = shown; *p; p++) {
        /* '_' between letters is no emphasis: q_proj stays readable as it is. "://" would make a bare URL a link. */
        bool inner = (*p == '_' && p > shown && is_word(p[-1]) && is_word(p[1])) || (*p == ':' && p[1] != '/');
        if (*p == '<' || *p == '>' || *p == '&')
            phy_text_put(text, *p == '<' ? "&lt;" : *p == '>' ? "&gt;" : "&amp;");
        else if (!inner && strchr("\\`*_{}[]#!|~:$", *p))
            phy_text_printf(text, "\\%c", *p);
        else
            phy_text_bytes(text, p, 1);
    }
}

void phy_text_markdown_name(struct phy_text *text, const char *name, enum phy_name_style style)
{
    put_name(text, name, style, put_markdown);
}

void phy_text_plain_name(struct phy_text *text, const char *name, enum phy_name_style style)
{
    put_name(text, name, style, phy_text_put);
}

void phy_text_json_string(struct phy_text *text, const char *string, size_t bytes)
{
    phy_text_put(text, "\"");
    for (size_t i = 0; i < bytes;) {
        char quoted[PHY_QUOTED_BYTES];
        size_t length = phy_utf8_sequence(string + i, bytes - i, NULL);
        if (length == 0) {
            phy_text_printf(text, "\\\\x%02x", (unsigned char)string[i]);
            i++;
            continue;
        }
        /* One character's E3 form is JSON's own escape: the same set, the same \uXXXX, the same \" and \\. */
        phy_quote(quoted, string + i, length);
        phy_text_bytes(text, quoted + 1, strlen(quoted) - 2);
        i += length;
    }
    phy_text_put(text, "\"");
}
