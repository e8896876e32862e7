/* SPDX-License-Identifier: Apache-2.0 */
#include "model/tokenizer_text.h"

#include <utf8proc.h>

#include "base/alloc.h"
#include "base/log.h"
#include "format/array.h"

bool phy_octets_reserve(struct phy_octets *bytes, size_t need)
{
    char *data = phy_array_reserve(bytes->data, &bytes->capacity, need, 1);
    if (data)
        bytes->data = data;
    return data != NULL;
}

void phy_octets_free(struct phy_octets *bytes)
{
    phy_free(bytes->data);
    *bytes = (struct phy_octets){0};
}

bool phy_ids_reserve(struct phy_ids *ids, size_t need)
{
    uint32_t *data = phy_array_reserve(ids->data, &ids->capacity, need, sizeof *data);
    if (data)
        ids->data = data;
    return data != NULL;
}

void phy_ids_free(struct phy_ids *ids)
{
    phy_free(ids->data);
    *ids = (struct phy_ids){0};
}

size_t phy_last_char(const char *text, size_t bytes, uint32_t *code)
{
    size_t begin = bytes - 1;
    while (begin > 0 && ((unsigned char)text[begin] & 0xC0) == 0x80)
        begin--;
    return phy_next_char(text + begin, code);
}

size_t phy_put_char(char to[4], uint32_t code)
{
    return (size_t)utf8proc_encode_char((utf8proc_int32_t)code, (utf8proc_uint8_t *)to);
}

bool phy_is_white_space(uint32_t code)
{
    if (code < 0x80)
        return code == ' ' || (code >= 9 && code <= 13);
    return code == 0x85 || code == 0xA0 || code == 0x1680 || (code >= 0x2000 && code <= 0x200A) || code == 0x2028 ||
           code == 0x2029 || code == 0x202F || code == 0x205F || code == 0x3000;
}

bool phy_is_numeric(uint32_t code)
{
    if (code < 0x80)
        return code >= '0' && code <= '9';
    utf8proc_category_t category = utf8proc_category((utf8proc_int32_t)code);
    return category == UTF8PROC_CATEGORY_ND || category == UTF8PROC_CATEGORY_NL || category == UTF8PROC_CATEGORY_NO;
}

bool phy_is_word(uint32_t code)
{
    switch (utf8proc_category((utf8proc_int32_t)code)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_PC:
        return true;
    case UTF8PROC_CATEGORY_SO: /* circled and squared letters are Alphabetic though they are symbols */
        return (code >= 0x24B6 && code <= 0x24E9) || (code >= 0x1F130 && code <= 0x1F149) ||
               (code >= 0x1F150 && code <= 0x1F169) || (code >= 0x1F170 && code <= 0x1F189);
    default:
        return code == 0x200C || code == 0x200D;
    }
}

/* Length of the maximal subpart at text: the longest beginning of a well-formed sequence, at least one byte. */
static size_t maximal_subpart(const char *text, size_t bytes)
{
    const unsigned char *s = (const unsigned char *)text;
    size_t length = s[0] >= 0xF0 && s[0] <= 0xF4  ? 4
                    : s[0] >= 0xE0 && s[0] < 0xF0 ? 3
                    : s[0] >= 0xC2 && s[0] < 0xE0 ? 2
                                                  : 1;
    if (length == 1 || bytes < 2)
        return 1;
    unsigned char low = s[0] == 0xE0 ? 0xA0 : s[0] == 0xF0 ? 0x90 : 0x80;
    unsigned char high = s[0] == 0xED ? 0x9F : s[0] == 0xF4 ? 0x8F : 0xBF;
    if (s[1] < low || s[1] > high)
        return 1;
    size_t taken = 2;
    while (taken < length && taken < bytes && (s[taken] & 0xC0) == 0x80)
        taken++;
    return taken;
}

bool phy_put_lossy(struct phy_octets *to, const char *text, size_t bytes)
{
    for (size_t at = 0; at < bytes;) {
        size_t length = phy_utf8_sequence(text + at, bytes - at, NULL);
        if (!(length ? phy_octets_put(to, text + at, length) : phy_octets_put(to, "\xEF\xBF\xBD", 3)))
            return false;
        at += length ? length : maximal_subpart(text + at, bytes - at);
    }
    return true;
}
