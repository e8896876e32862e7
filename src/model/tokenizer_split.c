/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE /* memmem, which is linear */
#include <string.h>

#include "base/log.h"
#include "model/tokenizer_parts.h"

enum phy_status phy_next_match(struct phy_match_walk *walk, bool *found, size_t *begin, size_t *end)
{
    *found = false;
    while (walk->at <= walk->bytes) {
        const struct phy_pattern *pattern = walk->pattern;
        if (pattern->regex) {
            enum phy_status status =
                phy_regex_search(pattern->regex, walk->work, walk->text, walk->bytes, walk->at, found, begin, end);
            if (status != PHY_OK || !*found)
                return status;
        } else {
            const char *at = memmem(walk->text + walk->at, walk->bytes - walk->at, pattern->text, pattern->bytes);
            if (!at)
                return PHY_OK;
            *begin = (size_t)(at - walk->text);
            *end = *begin + pattern->bytes;
            *found = true;
        }
        if (*begin < *end || !walk->any || walk->last_end != *end) {
            walk->at = walk->last_end = *end;
            walk->any = true;
            return PHY_OK;
        }
        uint32_t code;
        walk->at += walk->at < walk->bytes ? phy_next_char(walk->text + walk->at, &code) : 1;
        *found = false;
    }
    return PHY_OK;
}

/* ---- behaviours ---- */

/* Stretches that match and stretches between come in, in order; pieces go on to the next step. */
struct cutter {
    struct phy_encode_work *work;
    size_t next_step;
    const char *text;
    bool at_start;
    enum phy_split_behavior behavior;
    bool pending, previous_match;
    size_t begin, end; /* of the pending piece */
};

static enum phy_status emit(struct cutter *c, size_t begin, size_t end)
{
    return phy_split(c->work, c->next_step, c->text + begin, end - begin, c->at_start && begin == 0);
}

static enum phy_status flush(struct cutter *c)
{
    bool pending = c->pending;
    c->pending = false;
    return pending ? emit(c, c->begin, c->end) : PHY_OK;
}

static enum phy_status cut(struct cutter *c, size_t begin, size_t end, bool is_match)
{
    if (c->behavior == PHY_SPLIT_ISOLATED || (c->behavior == PHY_SPLIT_REMOVED && !is_match))
        return emit(c, begin, end);
    if (c->behavior == PHY_SPLIT_REMOVED)
        return PHY_OK;
    bool joins = c->behavior == PHY_SPLIT_CONTIGUOUS             ? is_match == c->previous_match
                 : c->behavior == PHY_SPLIT_MERGED_WITH_PREVIOUS ? is_match && !c->previous_match
                                                                 : c->previous_match && !is_match;
    joins = joins && c->pending;
    enum phy_status status = joins ? PHY_OK : flush(c);
    c->begin = joins ? c->begin : begin;
    c->end = end;
    c->pending = true;
    c->previous_match = is_match;
    return status;
}

/* ---- pre-tokenizers ---- */

static enum phy_status split_pattern(struct cutter *c, const struct phy_splitter *s, size_t bytes)
{
    struct phy_match_walk walk = {.pattern = &s->pattern, .work = &c->work->regex, .text = c->text, .bytes = bytes};
    size_t kept = 0, begin, end;
    bool found;
    for (;;) {
        enum phy_status status = phy_next_match(&walk, &found, &begin, &end);
        if (status != PHY_OK)
            return status;
        if (!found)
            break;
        if (kept != begin)
            status = cut(c, kept, begin, s->invert);
        if (status == PHY_OK)
            status = cut(c, begin, end, !s->invert);
        if (status != PHY_OK)
            return status;
        kept = end;
    }
    enum phy_status status = kept != bytes ? cut(c, kept, bytes, s->invert) : PHY_OK;
    return status == PHY_OK ? flush(c) : status;
}

static enum phy_status split_digits(struct cutter *c, size_t bytes)
{
    enum phy_status status = PHY_OK;
    size_t kept = 0, length;
    for (size_t at = 0; status == PHY_OK && at < bytes; at += length) {
        uint32_t code;
        length = phy_next_char(c->text + at, &code);
        if (!phy_is_numeric(code))
            continue;
        if (kept < at)
            status = cut(c, kept, at, false);
        if (status == PHY_OK)
            status = cut(c, at, at + length, true);
        kept = at + length;
    }
    if (status == PHY_OK && kept < bytes)
        status = cut(c, kept, bytes, false);
    return status == PHY_OK ? flush(c) : status;
}

/* Letters for bytes: printable Latin-1 stands for itself, the 68 others get U+0100 and on, in order. */
uint32_t phy_byte_letter(unsigned char byte)
{
    if (byte <= 0x20)
        return 0x100u + byte;
    if (byte >= 0x7F && byte <= 0xA0)
        return 0x121u + (byte - 0x7Fu);
    return byte == 0xAD ? 0x143u : byte;
}

int phy_letter_byte(uint32_t code)
{
    if (code >= 0x100 && code <= 0x120)
        return (int)(code - 0x100);
    if (code >= 0x121 && code <= 0x142)
        return (int)(code - 0x121 + 0x7F);
    if (code == 0x143)
        return 0xAD;
    return code <= 0xFF && phy_byte_letter((unsigned char)code) == code ? (int)code : -1;
}

/* The piece as letters, to the step after. */
static enum phy_status emit_letters(struct phy_encode_work *work, size_t step, const char *text, size_t bytes,
                                    bool at_start)
{
    struct phy_octets *to = &work->pieces[step];
    to->count = 0;
    if (!phy_octets_reserve(to, 2 * bytes))
        return phy_fail_memory(work->tokenizer->host, "a piece of text", 2 * bytes);
    for (size_t i = 0; i < bytes; i++) {
        uint32_t letter = phy_byte_letter((unsigned char)text[i]);
        if (letter < 0x80) {
            to->data[to->count++] = (char)letter;
        } else {
            to->data[to->count++] = (char)(0xC0 | letter >> 6);
            to->data[to->count++] = (char)(0x80 | (letter & 0x3F));
        }
    }
    return phy_split(work, step + 1, to->data, to->count, at_start);
}

static enum phy_status split_metaspace(struct phy_encode_work *work, size_t step, const char *text, size_t bytes,
                                       bool at_start)
{
    const struct phy_splitter *s = &work->tokenizer->splitters[step];
    struct phy_octets *to = &work->pieces[step];
    to->count = 0;
    bool begins = bytes >= s->replacement_bytes && memcmp(text, s->replacement, s->replacement_bytes) == 0;
    bool prepend = s->prepend == PHY_PREPEND_ALWAYS || (s->prepend == PHY_PREPEND_FIRST && at_start);
    bool ok = true;
    if (prepend && text[0] != ' ' && !begins)
        ok = phy_octets_put(to, s->replacement, s->replacement_bytes);
    for (size_t at = 0; ok && at < bytes;) {
        const char *space = memchr(text + at, ' ', bytes - at);
        size_t end = space ? (size_t)(space - text) : bytes;
        ok = phy_octets_put(to, text + at, end - at) &&
             (!space || phy_octets_put(to, s->replacement, s->replacement_bytes));
        at = end + (space != NULL);
    }
    if (!ok)
        return phy_fail_memory(work->tokenizer->host, "a piece of text", bytes);
    if (!s->split)
        return phy_split(work, step + 1, to->data, to->count, at_start);
    struct cutter c = {work, step + 1, to->data, at_start, PHY_SPLIT_MERGED_WITH_NEXT, false, false, 0, 0};
    const struct phy_splitter pattern = {.pattern = {NULL, (char *)s->replacement, s->replacement_bytes}};
    return split_pattern(&c, &pattern, to->count);
}

static enum phy_status split_byte_level(struct phy_encode_work *work, size_t step, const char *text, size_t bytes,
                                        bool at_start)
{
    const struct phy_splitter *s = &work->tokenizer->splitters[step];
    if (s->add_prefix_space && text[0] != ' ') {
        struct phy_octets *to = &work->pieces[step];
        to->count = 0;
        if (!phy_octets_put(to, " ", 1) || !phy_octets_put(to, text, bytes))
            return phy_fail_memory(work->tokenizer->host, "a piece of text", bytes);
        text = to->data;
        bytes = to->count;
    }
    if (!s->pattern.regex)
        return phy_split(work, step + 1, text, bytes, at_start);
    struct cutter c = {work, step + 1, text, at_start, PHY_SPLIT_ISOLATED, false, false, 0, 0};
    return split_pattern(&c, s, bytes);
}

enum phy_status phy_split(struct phy_encode_work *work, size_t step, const char *text, size_t bytes, bool at_start)
{
    const struct phy_tokenizer *t = work->tokenizer;
    if (!bytes)
        return PHY_OK;
    if (step == t->splitter_count)
        return phy_bpe_encode(&work->bpe, text, bytes, work->out);
    const struct phy_splitter *s = &t->splitters[step];
    struct cutter c = {work, step + 1, text, at_start, s->behavior, false, false, 0, 0};
    switch (s->kind) {
    case PHY_SPLITTER_SPLIT:
        return split_pattern(&c, s, bytes);
    case PHY_SPLITTER_DIGITS:
        return split_digits(&c, bytes);
    case PHY_SPLITTER_BYTE_LEVEL:
        return split_byte_level(work, step, text, bytes, at_start);
    case PHY_SPLITTER_LETTERS:
        return emit_letters(work, step, text, bytes, at_start);
    default:
        return split_metaspace(work, step, text, bytes, at_start);
    }
}
