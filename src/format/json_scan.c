/* SPDX-License-Identifier: Apache-2.0 */
#include "format/json_scan.h"

#include <string.h>

#include "base/checked_math.h"
#include "base/log.h"

/* What may come next. */
enum expectation {
    EXPECT_VALUE,
    EXPECT_VALUE_OR_END,
    EXPECT_KEY,
    EXPECT_KEY_OR_END,
    EXPECT_COMMA_OR_END,
    EXPECT_NOTHING,
    FAILED
};

size_t phy_json_utf8_end(const char *text, size_t bytes)
{
    size_t at = 0;
    while (at < bytes) {
        if (bytes - at >= 8 && !(phy_load_u64(text + at) & UINT64_C(0x8080808080808080))) {
            at += 8; /* eight ASCII bytes at once: nearly all of any header */
            continue;
        }
        size_t length = phy_utf8_sequence(text + at, bytes - at, NULL);
        if (!length)
            break;
        at += length;
    }
    return at;
}

void phy_json_begin(struct phy_json_scan *scan, char *text, size_t bytes)
{
    *scan = (struct phy_json_scan){.text = text, .bytes = bytes, .expect = EXPECT_VALUE};
}

static enum phy_json_kind fail(struct phy_json_scan *scan, struct phy_json_token *token, size_t at, const char *fact)
{
    scan->expect = FAILED;
    scan->at = at;
    token->kind = PHY_JSON_ERROR;
    token->at = at;
    token->text = fact;
    token->bytes = strlen(fact);
    return PHY_JSON_ERROR;
}

static void skip_space(struct phy_json_scan *scan)
{
    while (scan->at < scan->bytes) {
        char c = scan->text[scan->at];
        if (c != ' ' && c != '\n' && c != '\r' && c != '\t')
            return;
        scan->at++;
    }
}

/* Four hex digits at text[at], or -1. */
static int32_t hex4(const struct phy_json_scan *scan, size_t at)
{
    if (scan->bytes - at < 4)
        return -1;
    int32_t value = 0;
    for (size_t i = 0; i < 4; i++) {
        char c = scan->text[at + i];
        int digit = c >= '0' && c <= '9'   ? c - '0'
                    : c >= 'a' && c <= 'f' ? c - 'a' + 10
                    : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                           : -1;
        if (digit < 0)
            return -1;
        value = value * 16 + digit;
    }
    return value;
}

static size_t put_utf8(char *to, uint32_t code)
{
    if (code < 0x80) {
        to[0] = (char)code;
        return 1;
    }
    if (code < 0x800) {
        to[0] = (char)(0xC0 | code >> 6);
        to[1] = (char)(0x80 | (code & 0x3F));
        return 2;
    }
    if (code < 0x10000) {
        to[0] = (char)(0xE0 | code >> 12);
        to[1] = (char)(0x80 | (code >> 6 & 0x3F));
        to[2] = (char)(0x80 | (code & 0x3F));
        return 3;
    }
    to[0] = (char)(0xF0 | code >> 18);
    to[1] = (char)(0x80 | (code >> 12 & 0x3F));
    to[2] = (char)(0x80 | (code >> 6 & 0x3F));
    to[3] = (char)(0x80 | (code & 0x3F));
    return 4;
}

/* Decode the escape whose backslash is at scan->at, to `to`; returns the bytes written, 0 for an error in *fact. An
 * escape is never shorter than its character (2 for 1, 6 for up to 3, 12 for 4), so decoding in place never overtakes
 * reading. */
static size_t take_escape(struct phy_json_scan *scan, char *to, const char **fact)
{
    static const char from_letter[] = "\"\\/bfnrt", to_byte[] = "\"\\/\b\f\n\r\t";
    if (scan->at + 1 >= scan->bytes) {
        *fact = "the text ends inside a string";
        return 0;
    }
    char letter = scan->text[scan->at + 1];
    const char *simple = letter ? strchr(from_letter, letter) : NULL;
    if (simple) {
        *to = to_byte[simple - from_letter];
        scan->at += 2;
        return 1;
    }
    int32_t high = letter == 'u' ? hex4(scan, scan->at + 2) : -1;
    if (high < 0) {
        *fact = letter == 'u' ? "\\u without four hex digits" : "an escape that JSON does not have";
        return 0;
    }
    if (high < 0xD800 || high > 0xDFFF) {
        scan->at += 6;
        return put_utf8(to, (uint32_t)high);
    }
    int32_t low = -1;
    if (high < 0xDC00 && scan->bytes - scan->at >= 12 && scan->text[scan->at + 6] == '\\' &&
        scan->text[scan->at + 7] == 'u')
        low = hex4(scan, scan->at + 8);
    if (low < 0xDC00 || low > 0xDFFF) {
        *fact = "half a surrogate pair";
        return 0;
    }
    scan->at += 12;
    return put_utf8(to, 0x10000 + ((uint32_t)high - 0xD800) * 0x400 + ((uint32_t)low - 0xDC00));
}

/* The string whose quote is at scan->at. */
static enum phy_json_kind take_string(struct phy_json_scan *scan, struct phy_json_token *token, enum phy_json_kind kind)
{
    token->at = scan->at++;
    char *to = scan->text + scan->at;
    token->text = to;
    for (;;) {
        size_t begin = scan->at;
        unsigned char c = 0;
        while (scan->at < scan->bytes) {
            c = (unsigned char)scan->text[scan->at];
            if (c == '"' || c == '\\' || c < 0x20)
                break;
            scan->at++;
        }
        if (to != scan->text + begin)
            memmove(to, scan->text + begin, scan->at - begin);
        to += scan->at - begin;
        if (scan->at >= scan->bytes)
            return fail(scan, token, scan->at, "the text ends inside a string");
        if (c == '"')
            break;
        const char *fact = "a raw control character in a string";
        size_t written = c == '\\' ? take_escape(scan, to, &fact) : 0;
        if (!written)
            return fail(scan, token, scan->at, fact);
        to += written;
    }
    *to = 0; /* at the closing quote or before it */
    token->bytes = (size_t)(to - token->text);
    scan->at++;
    return token->kind = kind;
}

static size_t digits_from(const struct phy_json_scan *scan, size_t at)
{
    while (at < scan->bytes && scan->text[at] >= '0' && scan->text[at] <= '9')
        at++;
    return at;
}

static enum phy_json_kind take_number(struct phy_json_scan *scan, struct phy_json_token *token)
{
    size_t begin = scan->at, at = begin + (scan->text[begin] == '-'), end = digits_from(scan, at);
    if (end == at)
        return fail(scan, token, at, "a digit is expected");
    if (scan->text[at] == '0' && end > at + 1)
        return fail(scan, token, at, "a number with a leading zero");
    at = end;
    if (at < scan->bytes && scan->text[at] == '.') {
        end = digits_from(scan, at + 1);
        if (end == at + 1)
            return fail(scan, token, end, "a digit is expected after the point");
        at = end;
    }
    if (at < scan->bytes && (scan->text[at] == 'e' || scan->text[at] == 'E')) {
        at++;
        if (at < scan->bytes && (scan->text[at] == '+' || scan->text[at] == '-'))
            at++;
        end = digits_from(scan, at);
        if (end == at)
            return fail(scan, token, end, "a digit is expected in the exponent");
        at = end;
    }
    *token = (struct phy_json_token){PHY_JSON_NUMBER, false, begin, scan->text + begin, at - begin};
    scan->at = at;
    return PHY_JSON_NUMBER;
}

static enum phy_json_kind take_word(struct phy_json_scan *scan, struct phy_json_token *token, const char *word,
                                    enum phy_json_kind kind)
{
    size_t length = strlen(word);
    if (scan->bytes - scan->at < length || memcmp(scan->text + scan->at, word, length) != 0)
        return fail(scan, token, scan->at, "a value is expected");
    scan->at += length;
    return token->kind = kind;
}

static bool in_object(const struct phy_json_scan *scan)
{
    unsigned d = scan->depth - 1;
    return scan->is_object[d / 64] >> d % 64 & 1;
}

static enum phy_json_kind open_container(struct phy_json_scan *scan, struct phy_json_token *token, bool object)
{
    if (scan->depth == PHY_JSON_DEPTH) {
        token->too_deep = true;
        return fail(scan, token, scan->at, "nested too deep");
    }
    unsigned d = scan->depth++;
    scan->is_object[d / 64] &= ~(UINT64_C(1) << d % 64);
    scan->is_object[d / 64] |= (uint64_t)object << d % 64;
    scan->at++;
    scan->expect = object ? EXPECT_KEY_OR_END : EXPECT_VALUE_OR_END;
    return token->kind = object ? PHY_JSON_OBJECT : PHY_JSON_ARRAY;
}

static void after_value(struct phy_json_scan *scan)
{
    scan->expect = scan->depth ? EXPECT_COMMA_OR_END : EXPECT_NOTHING;
}

static enum phy_json_kind take_value(struct phy_json_scan *scan, struct phy_json_token *token)
{
    char c = scan->text[scan->at];
    if (c == '{' || c == '[')
        return open_container(scan, token, c == '{');
    enum phy_json_kind kind;
    if (c == '"')
        kind = take_string(scan, token, PHY_JSON_STRING);
    else if (c == '-' || (c >= '0' && c <= '9'))
        kind = take_number(scan, token);
    else if (c == 't')
        kind = take_word(scan, token, "true", PHY_JSON_TRUE);
    else if (c == 'f')
        kind = take_word(scan, token, "false", PHY_JSON_FALSE);
    else
        kind = take_word(scan, token, "null", PHY_JSON_NULL);
    if (kind != PHY_JSON_ERROR)
        after_value(scan);
    return kind;
}

static enum phy_json_kind take_key(struct phy_json_scan *scan, struct phy_json_token *token)
{
    if (scan->text[scan->at] != '"')
        return fail(scan, token, scan->at, "a key in double quotes is expected");
    if (take_string(scan, token, PHY_JSON_KEY) == PHY_JSON_ERROR)
        return PHY_JSON_ERROR;
    skip_space(scan);
    if (scan->at >= scan->bytes || scan->text[scan->at] != ':')
        return fail(scan, token, scan->at, "a colon is expected after a key");
    scan->at++;
    scan->expect = EXPECT_VALUE;
    return PHY_JSON_KEY;
}

enum phy_json_kind phy_json_next(struct phy_json_scan *scan, struct phy_json_token *token)
{
    *token = (struct phy_json_token){0};
    if (scan->expect == FAILED)
        return fail(scan, token, scan->at, "not JSON");
    skip_space(scan);
    if (scan->expect == EXPECT_COMMA_OR_END && scan->at < scan->bytes && scan->text[scan->at] == ',') {
        scan->at++;
        scan->expect = in_object(scan) ? EXPECT_KEY : EXPECT_VALUE;
        skip_space(scan);
    }
    token->at = scan->at;
    if (scan->at >= scan->bytes) {
        if (scan->expect == EXPECT_NOTHING)
            return token->kind = PHY_JSON_END;
        return fail(scan, token, scan->at, "the text ends early");
    }
    char c = scan->text[scan->at];
    if (scan->expect == EXPECT_NOTHING)
        return fail(scan, token, scan->at, "only white space may follow the value");
    bool may_end =
        scan->expect == EXPECT_VALUE_OR_END || scan->expect == EXPECT_KEY_OR_END || scan->expect == EXPECT_COMMA_OR_END;
    if (may_end && c == (in_object(scan) ? '}' : ']')) {
        token->kind = in_object(scan) ? PHY_JSON_OBJECT_END : PHY_JSON_ARRAY_END;
        scan->at++;
        scan->depth--;
        after_value(scan);
        return token->kind;
    }
    if (scan->expect == EXPECT_COMMA_OR_END)
        return fail(scan, token, scan->at, in_object(scan) ? "a comma or } is expected" : "a comma or ] is expected");
    if (scan->expect == EXPECT_KEY || scan->expect == EXPECT_KEY_OR_END)
        return take_key(scan, token);
    return take_value(scan, token);
}

const char *phy_json_kind_name(enum phy_json_kind kind)
{
    static const char *const names[] = {
        [PHY_JSON_ERROR] = "an error",
        [PHY_JSON_OBJECT] = "an object",
        [PHY_JSON_OBJECT_END] = "the end of an object",
        [PHY_JSON_ARRAY] = "an array",
        [PHY_JSON_ARRAY_END] = "the end of an array",
        [PHY_JSON_KEY] = "a key",
        [PHY_JSON_STRING] = "a string",
        [PHY_JSON_NUMBER] = "a number",
        [PHY_JSON_TRUE] = "true",
        [PHY_JSON_FALSE] = "false",
        [PHY_JSON_NULL] = "null",
        [PHY_JSON_END] = "the end",
    };
    return names[kind];
}

bool phy_json_whole_number(const struct phy_json_token *token, uint64_t *out)
{
    /* 2^53 - 1 has 16 digits, so nothing longer needs to be read and nothing overflows. */
    if (token->kind != PHY_JSON_NUMBER || token->bytes > 16)
        return false;
    uint64_t value = 0;
    for (size_t i = 0; i < token->bytes; i++) {
        if (token->text[i] < '0' || token->text[i] > '9')
            return false;
        value = value * 10 + (uint64_t)(token->text[i] - '0');
    }
    if (value >= UINT64_C(1) << 53)
        return false;
    *out = value;
    return true;
}

bool phy_json_is(const struct phy_json_token *token, const char *text)
{
    size_t bytes = strlen(text);
    return (token->kind == PHY_JSON_KEY || token->kind == PHY_JSON_STRING) && token->bytes == bytes &&
           memcmp(token->text, text, bytes) == 0;
}
