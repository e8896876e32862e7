/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cli.h"
#include "physarium/checkpoint.h"

void phy_print_escaped(FILE *to, const char *text)
{
    for (size_t length; *text; text += length) {
        char shown[PHY_QUOTED_NAME_BYTES];
        /* A character is its first byte and up to three that go on; pieces that are none are escaped byte by byte. */
        for (length = 1; length < 4 && ((unsigned char)text[length] & 0xC0) == 0x80;)
            length++;
        if (*text == '"' || *text == '\\') {
            fputc(*text, to);
            length = 1;
            continue;
        }
        phy_quote_name(shown, text, length);
        fwrite(shown + 1, 1, strlen(shown) - 2, to);
    }
}

/* The character at *s, which moves on; a byte that is not UTF-8 (only a file's own name can hold one) is U+FFFD. */
static uint32_t take_character(const unsigned char **s, const unsigned char *end)
{
    uint32_t code = *(*s)++;
    if (code < 0x80)
        return code;
    int more = code >= 0xF0 && code <= 0xF4 ? 3 : code >= 0xE0 && code < 0xF0 ? 2 : code >= 0xC2 && code < 0xE0 ? 1 : 0;
    if (more == 0 || end - *s < more)
        return 0xFFFD;
    code &= 0x3Fu >> more;
    for (int i = 0; i < more; i++) {
        if (((*s)[i] & 0xC0) != 0x80)
            return 0xFFFD;
        code = code << 6 | ((*s)[i] & 0x3Fu);
    }
    if ((code >= 0xD800 && code <= 0xDFFF) || code > 0x10FFFF)
        return 0xFFFD;
    *s += more;
    return code;
}

void phy_print_json_string(const char *text, size_t bytes)
{
    const unsigned char *s = (const unsigned char *)text, *end = s + bytes;
    putchar('"');
    while (s < end) {
        uint32_t code = take_character(&s, end);
        if (code >= 0x10000)
            printf("\\u%04" PRIx32 "\\u%04" PRIx32, 0xD800 + ((code - 0x10000) >> 10),
                   0xDC00 + ((code - 0x10000) & 0x3FF));
        else if (code < 0x20 || code >= 0x7F)
            printf("\\u%04" PRIx32, code);
        else if (code == '"' || code == '\\')
            printf("\\%c", (int)code);
        else
            putchar((int)code);
    }
    putchar('"');
}
