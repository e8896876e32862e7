/* SPDX-License-Identifier: Apache-2.0 */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "model/tokenizer_regex.h"

#include <pcre2.h>
#include <stdio.h>

#include "base/alloc.h"
#include "base/log.h"

/* Of Oniguruma's classes PCRE2 has other ideas, so they are spelled out. */
#define WHITE_SPACE "\\p{White_Space}"
#define NOT_WHITE_SPACE "\\P{White_Space}"
#define WORD_IN_CLASS "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}"
/* Outside of brackets Oniguruma asks a table of Latin-1 that also has superscripts and fractions. */
#define WORD WORD_IN_CLASS "\\x{b2}\\x{b3}\\x{b9}\\x{bc}-\\x{be}"

/* Longest repetition x{n}: PCRE2 copies the x. */
enum { REPEAT_MAX = 1000 };
enum { JIT_STACK_BYTES_MIN = 32 << 10, JIT_STACK_BYTES_MAX = 16 << 20, HEAP_KIB_MAX = 64 << 10 };

struct phy_regex {
    pcre2_code *code;
    char *where;
};

/* ---- translation ---- */

struct translation {
    struct phy_octets *to;
    const char *pattern, *at, *end;
    const char *where;
    const struct phy_host *host;
    size_t atom; /* where the last atom begins in to */
};

static enum phy_status no_memory(const struct translation *t)
{
    return phy_fail_memory(t->host, "a pattern", (size_t)(t->end - t->pattern));
}

static enum phy_status refuse(const struct translation *t, const char *from, size_t bytes, const char *what)
{
    char quoted[PHY_QUOTED_BYTES];
    if (bytes > (size_t)(t->end - from))
        bytes = (size_t)(t->end - from);
    return phy_fail(t->host, PHY_ERR_UNSUPPORTED, "%s: byte %zu of the regular expression: %s %s is not supported",
                    t->where, (size_t)(from - t->pattern), what, phy_quote(quoted, from, bytes));
}

static enum phy_status put(struct translation *t, const char *text)
{
    return phy_octets_put(t->to, text, strlen(text)) ? PHY_OK : no_memory(t);
}

/* Pass on `bytes` bytes of the pattern. */
static enum phy_status pass(struct translation *t, size_t bytes)
{
    if (!phy_octets_put(t->to, t->at, bytes))
        return no_memory(t);
    t->at += bytes;
    return PHY_OK;
}

static bool is_hex(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

static bool is_alphanumeric(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/* \p{...} at t->at. PCRE2 takes a script's name for its extensions as well, Oniguruma for the script alone. */
static enum phy_status take_property(struct translation *t)
{
    static const char categories[] =
        " L Lu Ll Lt Lm Lo M Mn Mc Me N Nd Nl No P Pc Pd Ps Pe Pi Pf Po S Sm Sc Sk So Z Zs Zl Zp "
        "C Cc Cf Cs Co Cn Any Alphabetic White_Space Lowercase Uppercase Emoji ";
    const char *close = memchr(t->at, '}', (size_t)(t->end - t->at));
    if (t->end - t->at < 5 || t->at[2] != '{' || !close)
        return refuse(t, t->at, 3, "the property");
    const char *name = t->at + 3;
    bool negated = *name == '^';
    name += negated;
    size_t bytes = (size_t)(close - name);
    char wanted[40];
    if (bytes == 0 || bytes > sizeof wanted - 3)
        return refuse(t, t->at, (size_t)(close + 1 - t->at), "the property");
    for (size_t i = 0; i < bytes; i++)
        if (!is_alphanumeric(name[i]) && name[i] != '_')
            return refuse(t, t->at, (size_t)(close + 1 - t->at), "the property");
    wanted[0] = ' ';
    memcpy(wanted + 1, name, bytes);
    memcpy(wanted + 1 + bytes, " ", 2);
    bool known = strstr(categories, wanted) != NULL;
    enum phy_status status = put(t, (t->at[1] == 'P') != negated ? "\\P{" : "\\p{");
    if (status == PHY_OK && !known)
        status = put(t, "sc:");
    t->at = name;
    return status == PHY_OK ? pass(t, bytes + 1) : status;
}

/* \xHH, \x{H...} and \uHHHH at t->at. */
static enum phy_status take_code(struct translation *t)
{
    const char *digits = t->at + 2, *s = digits;
    if (s < t->end && *s == '{' && t->at[1] == 'x') {
        for (s = ++digits; s < t->end && is_hex(*s); s++)
            ;
        if (s == digits || s - digits > 8 || s >= t->end || *s != '}')
            return refuse(t, t->at, 4, "the escape");
        t->at = s + 1;
    } else {
        size_t wanted = t->at[1] == 'u' ? 4 : 2;
        while (s < t->end && (size_t)(s - digits) < wanted && is_hex(*s))
            s++;
        /* \x80 and above stand for bytes there, not for characters */
        if ((size_t)(s - digits) != wanted || (wanted == 2 && *digits > '7'))
            return refuse(t, t->at, wanted + 2, "the escape");
        t->at = s;
    }
    enum phy_status status = put(t, "\\x{");
    if (status == PHY_OK && !phy_octets_put(t->to, digits, (size_t)(s - digits)))
        status = no_memory(t);
    return status == PHY_OK ? put(t, "}") : status;
}

/* An escape that stands for the same inside of brackets and outside, but for the brackets around a whole class. */
static enum phy_status take_escape(struct translation *t, bool in_class)
{
    static const struct {
        char letter;
        const char *outside, *inside; /* NULL: not there */
    } escapes[] = {
        {'d', "\\p{Nd}", "\\p{Nd}"},
        {'D', "\\P{Nd}", "\\P{Nd}"},
        {'s', WHITE_SPACE, WHITE_SPACE},
        {'S', NOT_WHITE_SPACE, NOT_WHITE_SPACE},
        {'w', "[" WORD "]", WORD_IN_CLASS},
        {'W', "[^" WORD "]", NULL},
        {'h', "[0-9a-fA-F]", "0-9a-fA-F"},
        {'H', "[^0-9a-fA-F]", NULL},
        {'b', "(?:(?<=[" WORD "])(?![" WORD "])|(?<![" WORD "])(?=[" WORD "]))", "\\x08"},
        {'B', "(?:(?<=[" WORD "])(?=[" WORD "])|(?<![" WORD "])(?![" WORD "]))", NULL},
        {'v', "\\x0b", "\\x0b"},
        {'n', "\\n", "\\n"},
        {'r', "\\r", "\\r"},
        {'t', "\\t", "\\t"},
        {'f', "\\f", "\\f"},
        {'a', "\\a", "\\a"},
        {'e', "\\e", "\\e"},
        {'A', "\\A", NULL},
        {'z', "\\z", NULL},
        {'Z', "\\Z", NULL},
    };
    if (t->end - t->at < 2)
        return phy_fail(t->host, PHY_ERR_FORMAT, "%s: the regular expression ends in a backslash", t->where);
    char letter = t->at[1];
    if (letter == 'p' || letter == 'P')
        return take_property(t);
    if (letter == 'x' || letter == 'u')
        return take_code(t);
    for (size_t i = 0; i < sizeof escapes / sizeof *escapes; i++) {
        const char *text = in_class ? escapes[i].inside : escapes[i].outside;
        if (escapes[i].letter == letter && text) {
            t->at += 2;
            return put(t, text);
        }
    }
    uint32_t code;
    size_t bytes = phy_next_char(t->at + 1, &code);
    if (is_alphanumeric(letter))
        return refuse(t, t->at, 2, "the escape");
    if (code >= 0x80)
        t->at++; /* PCRE2 wants no backslash there */
    return pass(t, code >= 0x80 ? bytes : 1 + bytes);
}

/* A class in brackets, at t->at. */
static enum phy_status take_class(struct translation *t)
{
    const char *open = t->at;
    enum phy_status status = pass(t, t->end - t->at > 1 && t->at[1] == '^' ? 2 : 1);
    bool first = true;
    for (; status == PHY_OK && t->at < t->end; first = false) {
        uint32_t code;
        if (*t->at == ']' && !first)
            return pass(t, 1);
        if (*t->at == '[')
            return refuse(t, t->at, 2, "inside of a class");
        if (*t->at == '&' && t->end - t->at > 1 && t->at[1] == '&')
            return refuse(t, t->at, 2, "inside of a class");
        if (*t->at == '\\') {
            status = take_escape(t, true);
        } else if (*t->at == ']') {
            t->at++;
            status = put(t, "\\]");
        } else {
            status = pass(t, phy_next_char(t->at, &code));
        }
    }
    if (status != PHY_OK)
        return status;
    return phy_fail(t->host, PHY_ERR_FORMAT, "%s: byte %zu of the regular expression: no ] for the [", t->where,
                    (size_t)(open - t->pattern));
}

/* An opening parenthesis, at t->at. All groups become (?: ): back references are refused, so nobody can tell. */
static enum phy_status take_group(struct translation *t)
{
    const char *s = t->at + 1;
    size_t left = (size_t)(t->end - s);
    if (left && *s == '*')
        return refuse(t, t->at, 2, "the group");
    if (!left || *s != '?') {
        t->at++;
        return put(t, "(?:");
    }
    if (left > 1 && memchr(":=!>", s[1], 4))
        return pass(t, 3);
    if (left > 2 && s[1] == '<' && (s[2] == '=' || s[2] == '!'))
        return pass(t, 4);
    /* (?i: and (?m:, whose m is PCRE2's s. An option without a colon lasts to the end of its group, and there it also
     * takes the alternatives that follow into a group of its own: the same for both only at the very start. */
    for (s++; s < t->end && (*s == 'i' || *s == 'm' || *s == '-'); s++)
        ;
    bool whole = s < t->end && *s == ')' && t->at == t->pattern;
    if (s >= t->end || (*s != ':' && !whole))
        return refuse(t, t->at, (size_t)(s - t->at) + 1, "the group");
    enum phy_status status = PHY_OK;
    for (const char *c = t->at; status == PHY_OK && c <= s; c++) {
        char text[2] = {*c == 'm' ? 's' : *c, 0};
        status = put(t, text);
    }
    t->at = s + 1;
    return status;
}

/* {n} {n,} {,m} {n,m} at *s; *s is moved behind it. False: the brace is a brace. */
static bool read_interval(const struct translation *t, const char **s, long *least, long *most)
{
    const char *at = *s + 1;
    long values[2] = {-1, -1};
    for (int i = 0; i < 2; i++) {
        for (; at < t->end && *at >= '0' && *at <= '9'; at++)
            if (values[i] < 1 << 20)
                values[i] = (values[i] < 0 ? 0 : values[i]) * 10 + (*at - '0');
        if (i == 0 && at < t->end && *at == '}' && values[0] >= 0) {
            values[1] = values[0];
            break;
        }
        if (at >= t->end || *at != (i == 0 ? ',' : '}'))
            return false;
        at += i == 0;
    }
    if (at >= t->end || *at != '}' || (values[0] < 0 && values[1] < 0))
        return false;
    *least = values[0] < 0 ? 0 : values[0];
    *most = values[1];
    *s = at + 1;
    return true;
}

static enum phy_status wrap_atom(struct translation *t)
{
    if (!phy_octets_put(t->to, "(?:", 3))
        return no_memory(t);
    memmove(t->to->data + t->atom + 3, t->to->data + t->atom, t->to->count - 3 - t->atom);
    memcpy(t->to->data + t->atom, "(?:", 3);
    return put(t, ")");
}

/* A brace, at t->at: an interval, or itself. */
static enum phy_status take_brace(struct translation *t)
{
    const char *s = t->at;
    long least, most;
    if (!read_interval(t, &s, &least, &most)) {
        t->atom = t->to->count;
        t->at++;
        return put(t, "\\{");
    }
    if (least > REPEAT_MAX || most > REPEAT_MAX)
        return refuse(t, t->at, (size_t)(s - t->at), "the repetition");
    bool fixed = least == most;
    char text[64];
    if (most < 0)
        snprintf(text, sizeof text, "{%ld,}", least);
    else
        snprintf(text, sizeof text, "{%ld,%ld}", least, most);
    t->at = s;
    enum phy_status status = put(t, text);
    /* x{2,3}+ repeats the repetition there, and x{2}? makes it optional; in PCRE2 the one is possessive, the other
     * lazy. */
    if (status == PHY_OK && s < t->end && (*s == '+' || (*s == '?' && fixed)))
        status = wrap_atom(t);
    return status;
}

enum phy_status phy_regex_translate(struct phy_octets *to, const char *pattern, size_t bytes, const char *where,
                                    const struct phy_host *host)
{
    struct translation t = {to, pattern, pattern, pattern + bytes, where, host, to->count};
    /* Where the groups in work begin in `to`, for the interval after one: a stack in the order of the parentheses. */
    struct phy_ids open = {0};
    enum phy_status status = PHY_OK;
    while (status == PHY_OK && t.at < t.end) {
        char c = *t.at;
        uint32_t code;
        if (c == '{') {
            status = take_brace(&t);
            continue;
        }
        if (c == '*' || c == '+' || c == '?') {
            status = pass(&t, 1);
            continue;
        }
        t.atom = to->count;
        if (c == '(') {
            status = phy_ids_put(&open, (uint32_t)to->count) ? take_group(&t) : no_memory(&t);
        } else if (c == ')') {
            t.atom = open.count ? open.data[--open.count] : t.atom;
            status = pass(&t, 1);
        } else if (c == '[') {
            status = take_class(&t);
        } else if (c == '\\') {
            status = take_escape(&t, false);
        } else {
            status = pass(&t, phy_next_char(t.at, &code));
        }
    }
    phy_ids_free(&open);
    return status;
}

/* ---- PCRE2 ---- */

static void *allocate(PCRE2_SIZE bytes, void *user)
{
    (void)user;
    return phy_alloc(bytes, 1);
}

static void release(void *memory, void *user)
{
    (void)user;
    phy_free(memory);
}

static pcre2_code *compile(const struct phy_octets *text, int *error, size_t *at)
{
    pcre2_code *code = NULL;
    pcre2_general_context *general = pcre2_general_context_create(allocate, release, NULL);
    pcre2_compile_context *context = general ? pcre2_compile_context_create(general) : NULL;
    *error = PCRE2_ERROR_NOMEMORY;
    *at = 0;
    if (context) {
        pcre2_set_newline(context, PCRE2_NEWLINE_LF);
        pcre2_set_parens_nest_limit(context, 100);
        /* Callouts are how the steps of a search are counted: see count_steps. */
        uint32_t options = PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_AUTO_CALLOUT | PCRE2_NEVER_BACKSLASH_C |
                           PCRE2_NO_AUTO_CAPTURE;
        code = pcre2_compile((PCRE2_SPTR)(text->data ? text->data : ""), text->count, options, error, at, context);
    }
    pcre2_compile_context_free(context);
    pcre2_general_context_free(general);
    return code;
}

enum phy_status phy_regex_compile(struct phy_regex **out, const char *pattern, size_t bytes, const char *where,
                                  const struct phy_host *host)
{
    *out = NULL;
    struct phy_octets text = {0};
    enum phy_status status = phy_regex_translate(&text, pattern, bytes, where, host);
    if (status != PHY_OK) {
        phy_octets_free(&text);
        return status;
    }
    int error;
    size_t at;
    struct phy_regex *regex = phy_zalloc(1, sizeof *regex);
    char *kept = regex ? phy_strndup(where, strlen(where)) : NULL;
    pcre2_code *code = kept ? compile(&text, &error, &at) : NULL;
    phy_octets_free(&text);
    if (code) {
        *regex = (struct phy_regex){code, kept};
        *out = regex;
        /* Without the JIT (a hardened kernel, another processor) the interpreter gives the same matches, slower. */
        (void)pcre2_jit_compile(code, PCRE2_JIT_COMPLETE);
        return PHY_OK;
    }
    bool no_memory = !kept || error == PCRE2_ERROR_NOMEMORY || error == PCRE2_ERROR_HEAP_FAILED;
    phy_free(kept);
    phy_free(regex);
    if (no_memory)
        return phy_fail_memory(host, "a pattern", bytes);
    char quoted[PHY_QUOTED_BYTES];
    PCRE2_UCHAR message[128] = "";
    pcre2_get_error_message(error, message, sizeof message);
    return phy_fail(host, PHY_ERR_UNSUPPORTED, "%s: the regular expression %s: %s", where,
                    phy_quote(quoted, pattern, bytes), (const char *)message);
}

void phy_regex_free(struct phy_regex **regex)
{
    if (*regex) {
        pcre2_code_free((*regex)->code);
        phy_free((*regex)->where);
        phy_free(*regex);
        *regex = NULL;
    }
}

/* PCRE2 calls this before each item of the pattern. It goes a step for the item and one for each byte that it moved
 * since the last, so that a pattern that backtracks without end, or reads a long text again and again, is stopped at a
 * number of steps that depends on the pattern and the text alone. */
static int count_steps(pcre2_callout_block *block, void *user)
{
    struct phy_regex_work *work = user;
    size_t position = block->current_position, last = work->last_position;
    uint64_t before = work->steps;
    work->steps += 1 + (position > last ? position - last : last - position);
    work->last_position = position;
    if (work->steps > work->steps_max)
        return PCRE2_ERROR_CALLOUT;
    if ((before ^ work->steps) >> 24 && phy_cancelled(work->host))
        return PCRE2_ERROR_CALLOUT;
    return 0;
}

static bool start_work(struct phy_regex_work *work)
{
    pcre2_general_context *general = pcre2_general_context_create(allocate, release, NULL);
    if (general) {
        work->match_data = pcre2_match_data_create(1, general);
        work->match_context = pcre2_match_context_create(general);
        work->jit_stack = pcre2_jit_stack_create(JIT_STACK_BYTES_MIN, JIT_STACK_BYTES_MAX, general);
    }
    pcre2_general_context_free(general);
    if (!work->match_data || !work->match_context || !work->jit_stack) {
        phy_regex_work_free(work);
        return false;
    }
    pcre2_set_callout(work->match_context, count_steps, work);
    pcre2_set_match_limit(work->match_context, UINT32_MAX);
    pcre2_set_heap_limit(work->match_context, HEAP_KIB_MAX);
    pcre2_jit_stack_assign(work->match_context, NULL, work->jit_stack);
    return true;
}

void phy_regex_work_free(struct phy_regex_work *work)
{
    pcre2_match_data_free(work->match_data);
    pcre2_match_context_free(work->match_context);
    pcre2_jit_stack_free(work->jit_stack);
    work->match_data = work->match_context = work->jit_stack = NULL;
}

static enum phy_status fail_search(const struct phy_regex *regex, const struct phy_regex_work *work, int code,
                                   size_t at)
{
    if (code == PCRE2_ERROR_CALLOUT && work->steps <= work->steps_max)
        return phy_fail(work->host, PHY_ERR_INTERRUPTED, "%s: interrupted", regex->where);
    if (code == PCRE2_ERROR_CALLOUT)
        return phy_fail(work->host, PHY_ERR_LIMIT,
                        "%s: the regular expression takes more than %llu steps on this text, at byte %zu of a piece",
                        regex->where, (unsigned long long)work->steps_max, at);
    if (code == PCRE2_ERROR_NOMEMORY)
        return phy_fail_memory(work->host, "a search", 0);
    PCRE2_UCHAR message[128] = "";
    pcre2_get_error_message(code, message, sizeof message);
    return phy_fail(work->host, PHY_ERR_LIMIT,
                    "%s: the regular expression cannot search this text, at byte %zu of a piece: %s", regex->where, at,
                    (const char *)message);
}

enum phy_status phy_regex_search(const struct phy_regex *regex, struct phy_regex_work *work, const char *text,
                                 size_t bytes, size_t at, bool *found, size_t *begin, size_t *end)
{
    if (!work->match_data && !start_work(work))
        return phy_fail_memory(work->host, "a search", JIT_STACK_BYTES_MIN);
    work->last_position = at;
    int code = pcre2_match(regex->code, (PCRE2_SPTR)text, bytes, at, PCRE2_NO_UTF_CHECK, work->match_data,
                           work->match_context);
    *found = code >= 0;
    if (code < 0)
        return code == PCRE2_ERROR_NOMATCH ? PHY_OK : fail_search(regex, work, code, at);
    const PCRE2_SIZE *place = pcre2_get_ovector_pointer(work->match_data);
    *begin = place[0];
    *end = place[1];
    return PHY_OK;
}
