/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE /* memmem, which is linear */
#include <string.h>

#include "base/alloc.h"
#include "base/log.h"
#include "format/array.h"
#include "model/tokenizer_parts.h"

/* A list of byte strings: string i ends at ends[i], and begins where the one before ends. */
struct strings {
    struct phy_octets bytes;
    size_t *ends;
    size_t count, capacity;
};

/* A step's input and output, and whether strings must stay UTF-8. */
struct decoding {
    struct strings from, to;
    bool raw, too_long;
    uint64_t left; /* bytes that the steps may still put out: a file cannot blow up a short text */
};

enum { DECODED_PER_BYTE = 64, DECODED_AT_LEAST = 1 << 20 };

/* What has been put since the last end is a string. */
static bool end_string(struct strings *s)
{
    size_t *ends = phy_array_reserve(s->ends, &s->capacity, s->count + 1, sizeof *ends);
    if (!ends)
        return false;
    s->ends = ends;
    ends[s->count++] = s->bytes.count;
    return true;
}

static const char *string_at(const struct strings *s, size_t i, size_t *bytes)
{
    size_t begin = i ? s->ends[i - 1] : 0;
    *bytes = s->ends[i] - begin;
    return *bytes ? s->bytes.data + begin : "";
}

static void free_strings(struct strings *s)
{
    phy_octets_free(&s->bytes);
    phy_free(s->ends);
    *s = (struct strings){0};
}

/* ---- decoders ---- */

/* The bytes that a token's letters stand for; a token with any other character stands for itself. */
static bool put_letters(struct phy_octets *to, const char *text, size_t bytes)
{
    size_t start = to->count;
    if (!phy_octets_reserve(to, start + bytes))
        return false;
    for (size_t at = 0; at < bytes;) {
        unsigned code;
        size_t length = phy_utf8_sequence(text + at, bytes - at, &code);
        int byte = length ? phy_letter_byte(code) : -1;
        if (byte < 0) {
            to->count = start;
            return phy_octets_put(to, text, bytes);
        }
        to->data[to->count++] = (char)byte;
        at += length;
    }
    return true;
}

static bool decode_byte_level(struct decoding *d)
{
    struct phy_octets joined = {0};
    bool ok = true;
    size_t bytes;
    for (size_t i = 0; ok && i < d->from.count; i++) {
        const char *text = string_at(&d->from, i, &bytes);
        ok = put_letters(&joined, text, bytes);
    }
    ok = ok && (d->raw ? phy_octets_put(&d->to.bytes, joined.data, joined.count)
                       : phy_put_lossy(&d->to.bytes, joined.data, joined.count));
    phy_octets_free(&joined);
    return ok && end_string(&d->to);
}

static bool put_replaced(struct phy_octets *to, const char *text, size_t bytes, const char *pattern,
                         size_t pattern_bytes, const char *content, size_t content_bytes)
{
    for (size_t at = 0; at < bytes;) {
        const char *hit = memmem(text + at, bytes - at, pattern, pattern_bytes);
        size_t end = hit ? (size_t)(hit - text) : bytes;
        if (!phy_octets_put(to, text + at, end - at) || (hit && !phy_octets_put(to, content, content_bytes)))
            return false;
        at = end + (hit ? pattern_bytes : 0);
    }
    return true;
}

static bool decode_replace(struct decoding *d, const struct phy_decoder *decoder)
{
    size_t bytes;
    for (size_t i = 0; i < d->from.count; i++) {
        const char *text = string_at(&d->from, i, &bytes);
        if (!put_replaced(&d->to.bytes, text, bytes, decoder->pattern, decoder->pattern_bytes, decoder->content,
                          decoder->content_bytes) ||
            !end_string(&d->to))
            return false;
        if (d->to.bytes.count > d->left) {
            d->too_long = true;
            return false;
        }
    }
    d->left -= d->to.bytes.count;
    return true;
}

static bool decode_metaspace(struct decoding *d, const struct phy_decoder *decoder)
{
    size_t bytes;
    for (size_t i = 0; i < d->from.count; i++) {
        const char *text = string_at(&d->from, i, &bytes);
        bool drop = i == 0 && decoder->prepend != PHY_PREPEND_NEVER;
        if (!put_replaced(&d->to.bytes, text, bytes, decoder->character, decoder->character_bytes, " ", drop ? 0 : 1) ||
            !end_string(&d->to))
            return false;
    }
    return true;
}

static int hex_digit(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

/* The byte of <0x41>, or -1. <0x+5> is one too: Rust's number reader takes a plus. */
static int byte_token(const char *text, size_t bytes)
{
    if (bytes != 6 || memcmp(text, "<0x", 3) != 0 || text[5] != '>')
        return -1;
    int high = text[3] == '+' ? 0 : hex_digit(text[3]), low = hex_digit(text[4]);
    return high < 0 || low < 0 ? -1 : high * 16 + low;
}

/* A run of byte tokens ends: its bytes if they are UTF-8, else U+FFFD for each of them. */
static bool end_run(struct decoding *d, struct phy_octets *run)
{
    if (!run->count)
        return true;
    bool valid = true;
    for (size_t at = 0, length; valid && at < run->count; at += length)
        valid = (length = phy_utf8_sequence(run->data + at, run->count - at, NULL)) > 0;
    size_t count = run->count;
    run->count = 0;
    if (valid || d->raw)
        return phy_octets_put(&d->to.bytes, run->data, count) && end_string(&d->to);
    for (size_t i = 0; i < count; i++)
        if (!phy_octets_put(&d->to.bytes, "\xEF\xBF\xBD", 3) || !end_string(&d->to))
            return false;
    return true;
}

static bool decode_byte_fallback(struct decoding *d)
{
    struct phy_octets run = {0};
    bool ok = true;
    size_t bytes;
    for (size_t i = 0; ok && i < d->from.count; i++) {
        const char *text = string_at(&d->from, i, &bytes);
        int byte = byte_token(text, bytes);
        char one = (char)byte;
        if (byte >= 0)
            ok = phy_octets_put(&run, &one, 1);
        else
            ok = end_run(d, &run) && phy_octets_put(&d->to.bytes, text, bytes) && end_string(&d->to);
    }
    ok = ok && end_run(d, &run);
    phy_octets_free(&run);
    return ok;
}

static bool decode_strip(struct decoding *d, const struct phy_decoder *decoder)
{
    size_t bytes, c = decoder->character_bytes;
    for (size_t i = 0; i < d->from.count; i++) {
        const char *text = string_at(&d->from, i, &bytes);
        for (uint64_t n = 0; n < decoder->start && bytes >= c && memcmp(text, decoder->character, c) == 0; n++) {
            text += c;
            bytes -= c;
        }
        for (uint64_t n = 0; n < decoder->stop && bytes >= c && memcmp(text + bytes - c, decoder->character, c) == 0;
             n++)
            bytes -= c;
        if (!phy_octets_put(&d->to.bytes, text, bytes) || !end_string(&d->to))
            return false;
    }
    return true;
}

static bool decode_step(struct decoding *d, const struct phy_decoder *decoder)
{
    switch (decoder->kind) {
    case PHY_DECODER_BYTE_LEVEL:
        return decode_byte_level(d);
    case PHY_DECODER_REPLACE:
        return decode_replace(d, decoder);
    case PHY_DECODER_BYTE_FALLBACK:
        return decode_byte_fallback(d);
    case PHY_DECODER_STRIP:
        return decode_strip(d, decoder);
    case PHY_DECODER_METASPACE:
        return decode_metaspace(d, decoder);
    default: /* Fuse */
        return phy_octets_put(&d->to.bytes, d->from.bytes.data, d->from.bytes.count) && end_string(&d->to);
    }
}

/* ---- the whole ---- */

/* What decoders see of a token: an added one as the normalizers leave it. */
static const char *token_text(const struct phy_tokenizer *t, uint32_t id, size_t *bytes)
{
    uint32_t index = phy_pair_map_get(&t->added_by_id, 0, id);
    if (index != PHY_PAIR_NONE) {
        const struct phy_added_token *token = &t->added[index];
        *bytes = token->normal ? token->normal_bytes : token->bytes;
        return token->normal ? token->normal : token->content;
    }
    const struct phy_name *name = phy_bpe_token(&t->bpe, id);
    *bytes = name ? name->bytes : 0;
    return name ? name->text : NULL;
}

static bool is_special_text(const struct phy_tokenizer *t, const char *text, size_t bytes)
{
    return phy_name_set_find(&t->special_contents, 0, text, bytes) != NULL;
}

bool phy_tokenizer_is_special(const struct phy_tokenizer *tokenizer, uint32_t id)
{
    size_t bytes;
    const char *text = token_text(tokenizer, id, &bytes);
    return text && is_special_text(tokenizer, text, bytes);
}

static bool look_up(const struct phy_tokenizer *t, const uint32_t *ids, size_t count, bool skip_special,
                    struct strings *to)
{
    size_t bytes;
    for (size_t i = 0; i < count; i++) {
        const char *text = token_text(t, ids[i], &bytes);
        if (!text || (skip_special && is_special_text(t, text, bytes)))
            continue;
        if (!t->has_decoder && to->count && !phy_octets_put(&to->bytes, " ", 1))
            return false;
        if (!phy_octets_put(&to->bytes, text, bytes) || !end_string(to))
            return false;
    }
    return true;
}

bool phy_tokenizer_decodes_by_parts(const struct phy_tokenizer *tokenizer)
{
    bool joined = false;
    for (size_t i = 0; i < tokenizer->decoder_count; i++) {
        const struct phy_decoder *decoder = &tokenizer->decoders[i];
        if (joined && decoder->kind != PHY_DECODER_FUSE && (decoder->kind != PHY_DECODER_STRIP || decoder->stop > 0))
            return false;
        /* A run of byte tokens is joined too. */
        joined = joined || decoder->kind == PHY_DECODER_FUSE || decoder->kind == PHY_DECODER_BYTE_LEVEL ||
                 decoder->kind == PHY_DECODER_BYTE_FALLBACK;
    }
    return true;
}

enum phy_status phy_tokenizer_decode(const struct phy_tokenizer *tokenizer, const uint32_t *ids, size_t count,
                                     const struct phy_decode_params *params, struct phy_decoded *out)
{
    struct decoding d = {.raw = params && params->raw_bytes};
    *out = (struct phy_decoded){0};
    bool ok = look_up(tokenizer, ids, count, params && params->skip_special, &d.to);
    d.left = DECODED_AT_LEAST + DECODED_PER_BYTE * (uint64_t)d.to.bytes.count;
    for (size_t i = 0; ok && i < tokenizer->decoder_count; i++) {
        struct strings spent = d.from;
        d.from = d.to;
        d.to = spent;
        d.to.count = d.to.bytes.count = 0;
        ok = decode_step(&d, &tokenizer->decoders[i]);
    }
    ok = ok && phy_octets_put(&d.to.bytes, "", 1);
    free_strings(&d.from);
    phy_free(d.to.ends);
    if (!ok) {
        phy_octets_free(&d.to.bytes);
        if (d.too_long)
            return phy_fail(tokenizer->host, PHY_ERR_LIMIT, "%s: decoder: the text of %zu ids grows too long",
                            tokenizer->name, count);
        return phy_fail_memory(tokenizer->host, "decoded text", count);
    }
    *out = (struct phy_decoded){d.to.bytes.data, d.to.bytes.count - 1};
    return PHY_OK;
}

void phy_decoded_free(struct phy_decoded *decoded)
{
    phy_free(decoded->text);
    *decoded = (struct phy_decoded){0};
}
