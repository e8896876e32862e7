/* SPDX-License-Identifier: Apache-2.0 */
#include "surgery/glob.h"

#include <string.h>

/* Bytes of the set at pattern ("[...]"), 0 if it is never closed. */
static size_t set_length(const char *pattern)
{
    size_t i = 1;
    if (pattern[i] == '!' || pattern[i] == '^')
        i++;
    if (pattern[i] == ']')
        i++;
    while (pattern[i] && pattern[i] != ']')
        i++;
    return pattern[i] == ']' ? i + 1 : 0;
}

static bool set_holds(const char *pattern, size_t length, unsigned char byte)
{
    size_t i = 1, end = length - 1;
    bool negated = pattern[i] == '!' || pattern[i] == '^', found = false;
    if (negated)
        i++;
    while (i < end) {
        unsigned char low = (unsigned char)pattern[i], high = low;
        if (i + 2 < end && pattern[i + 1] == '-') {
            high = (unsigned char)pattern[i + 2];
            i += 2;
        }
        i++;
        found = found || (byte >= low && byte <= high);
    }
    return found != negated;
}

/* Bytes of the pattern's element at `pattern` (not '*') if it accepts `byte`, else 0. */
static size_t match_one(const char *pattern, unsigned char byte)
{
    if (*pattern == '?')
        return 1;
    size_t length = *pattern == '[' ? set_length(pattern) : 0;
    if (length)
        return set_holds(pattern, length, byte) ? length : 0;
    return *pattern && (unsigned char)*pattern == byte ? 1 : 0;
}

bool phy_glob_match(const char *pattern, const char *text, size_t text_bytes)
{
    /* Only the last star seen ever needs to take one byte more: what stands before it has already matched as early as
     * it can, and a later match of that part leaves less text for the rest. So there is one place to go back to, not a
     * tree. */
    const char *after_star = NULL;
    size_t at = 0, star_at = 0;
    while (at < text_bytes) {
        size_t step;
        if (*pattern == '*') {
            after_star = ++pattern;
            star_at = at;
        } else if ((step = match_one(pattern, (unsigned char)text[at])) != 0) {
            pattern += step;
            at++;
        } else if (after_star) {
            pattern = after_star;
            at = ++star_at;
        } else {
            return false;
        }
    }
    return pattern[strspn(pattern, "*")] == 0;
}
