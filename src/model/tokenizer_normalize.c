/* SPDX-License-Identifier: Apache-2.0 */
#include <utf8proc.h>

#include "base/log.h"
#include "format/array.h"
#include "model/tokenizer_parts.h"

/* utf8proc's longest decomposition is 18 code points. */
enum { DECOMPOSITION_MAX = 32 };

static enum phy_status no_memory(const struct phy_encode_work *work, size_t bytes)
{
    return phy_fail_memory(work->tokenizer->host, "a text's normal form", bytes);
}

/* ---- Unicode's normal forms ---- */

static unsigned combining_class(uint32_t code)
{
    return (unsigned)utf8proc_get_property((utf8proc_int32_t)code)->combining_class;
}

static int compare_classes(const void *a, const void *b)
{
    unsigned x = combining_class(*(const uint32_t *)a), y = combining_class(*(const uint32_t *)b);
    return (x > y) - (x < y);
}

/* Sort each run of combining marks by class. utf8proc's own sort takes quadratic time, and a text may be one run. */
static bool order_marks(struct phy_ids *codes)
{
    for (size_t i = 0; i < codes->count;) {
        size_t begin = i;
        while (i < codes->count && combining_class(codes->data[i]))
            i++;
        if (i - begin > 1 && !phy_array_sort(codes->data + begin, i - begin, sizeof *codes->data, compare_classes))
            return false;
        i += i == begin;
    }
    return true;
}

static utf8proc_option_t options_of(enum phy_normalizer_kind kind)
{
    int options = UTF8PROC_STABLE;
    options |= kind == PHY_NORMALIZER_NFC || kind == PHY_NORMALIZER_NFKC ? UTF8PROC_COMPOSE : UTF8PROC_DECOMPOSE;
    options |= kind == PHY_NORMALIZER_NFKC || kind == PHY_NORMALIZER_NFKD ? UTF8PROC_COMPAT : 0;
    return (utf8proc_option_t)options;
}

static bool normalize_run(struct phy_ids *codes, utf8proc_option_t options, const char *text, size_t bytes,
                          struct phy_octets *to)
{
    codes->count = 0;
    for (size_t at = 0; at < bytes;) {
        uint32_t code;
        int boundary = 0;
        at += phy_next_char(text + at, &code);
        if (!phy_ids_reserve(codes, codes->count + DECOMPOSITION_MAX))
            return false;
        utf8proc_ssize_t put =
            utf8proc_decompose_char((utf8proc_int32_t)code, (utf8proc_int32_t *)codes->data + codes->count,
                                    DECOMPOSITION_MAX, options, &boundary);
        codes->count += put > 0 ? (size_t)put : 0;
    }
    if (!order_marks(codes))
        return false;
    if (options & UTF8PROC_COMPOSE)
        codes->count =
            (size_t)utf8proc_normalize_utf32((utf8proc_int32_t *)codes->data, (utf8proc_ssize_t)codes->count, options);
    for (size_t i = 0; i < codes->count; i++) {
        char utf8[4];
        if (!phy_octets_put(to, utf8, phy_put_char(utf8, codes->data[i])))
            return false;
    }
    return true;
}

/* No ASCII character changes, or joins what is before it: the text is worked off in runs that begin at one. */
static bool normalize_unicode(struct phy_encode_work *work, enum phy_normalizer_kind kind, const char *text,
                              size_t bytes, struct phy_octets *to)
{
    utf8proc_option_t options = options_of(kind);
    size_t begin = 0;
    while (begin < bytes) {
        size_t end = begin;
        while (end < bytes && !(text[end] & 0x80))
            end++;
        size_t plain = end < bytes && end > begin ? end - 1 : end; /* its last character may take a mark */
        if (!phy_octets_put(to, text + begin, plain - begin))
            return false;
        while (end < bytes && (text[end] & 0x80))
            end++;
        if (end > plain && !normalize_run(&work->codes, options, text + plain, end - plain, to))
            return false;
        begin = end;
    }
    return true;
}

/* ---- the others ---- */

static bool lowercase(const char *text, size_t bytes, struct phy_octets *to)
{
    for (size_t at = 0; at < bytes;) {
        uint32_t code;
        char utf8[4];
        at += phy_next_char(text + at, &code);
        /* U+0130 is the one character whose lower case is two. */
        bool ok = code == 0x130
                      ? phy_octets_put(to, "i\xCC\x87", 3)
                      : phy_octets_put(to, utf8, phy_put_char(utf8, (uint32_t)utf8proc_tolower((int32_t)code)));
        if (!ok)
            return false;
    }
    return true;
}

static bool strip(const struct phy_normalizer *n, const char *text, size_t bytes, struct phy_octets *to, bool *at_start)
{
    size_t begin = 0, length;
    uint32_t code;
    while (n->left && begin < bytes) {
        length = phy_next_char(text + begin, &code);
        if (!phy_is_white_space(code))
            break;
        begin += length;
    }
    while (n->right && bytes > begin) {
        length = phy_last_char(text, bytes, &code);
        if (!phy_is_white_space(code))
            break;
        bytes -= length;
    }
    *at_start = *at_start && begin == 0;
    return phy_octets_put(to, text + begin, bytes - begin);
}

static enum phy_status replace(struct phy_encode_work *work, const struct phy_normalizer *n, const char *text,
                               size_t bytes, struct phy_octets *to, bool *at_start)
{
    struct phy_match_walk walk = {.pattern = &n->pattern, .work = &work->regex, .text = text, .bytes = bytes};
    size_t kept = 0, begin, end;
    bool found;
    for (;;) {
        enum phy_status status = phy_next_match(&walk, &found, &begin, &end);
        if (status != PHY_OK)
            return status;
        if (!found || to->count > work->normal_left)
            break;
        if (!phy_octets_put(to, text + kept, begin - kept) || !phy_octets_put(to, n->content, n->content_bytes))
            return no_memory(work, to->count);
        if (begin == 0 && end > 0 && !n->content_bytes)
            *at_start = false;
        kept = end;
    }
    return phy_octets_put(to, text + kept, bytes - kept) ? PHY_OK : no_memory(work, to->count);
}

static enum phy_status normalize_step(struct phy_encode_work *work, const struct phy_normalizer *n, const char *text,
                                      size_t bytes, struct phy_octets *to, bool *at_start)
{
    bool ok;
    switch (n->kind) {
    case PHY_NORMALIZER_REPLACE:
        return replace(work, n, text, bytes, to, at_start);
    case PHY_NORMALIZER_PREPEND:
        ok = phy_octets_put(to, n->content, n->content_bytes) && phy_octets_put(to, text, bytes);
        break;
    case PHY_NORMALIZER_STRIP:
        ok = strip(n, text, bytes, to, at_start);
        break;
    case PHY_NORMALIZER_LOWERCASE:
        ok = lowercase(text, bytes, to);
        break;
    default:
        ok = normalize_unicode(work, n->kind, text, bytes, to);
    }
    return ok ? PHY_OK : no_memory(work, to->count);
}

enum phy_status phy_normalize(struct phy_encode_work *work, const char *text, size_t bytes, const char **out,
                              size_t *out_bytes, bool *at_start)
{
    const struct phy_tokenizer *t = work->tokenizer;
    for (size_t i = 0; i < t->normalizer_count && bytes; i++) {
        struct phy_octets *to = &work->normal[i % 2];
        to->count = 0;
        enum phy_status status = normalize_step(work, &t->normalizers[i], text, bytes, to, at_start);
        if (status != PHY_OK)
            return status;
        if (to->count > work->normal_left || to->count > PHY_TEXT_BYTES_MAX)
            return phy_fail(t->host, PHY_ERR_LIMIT, "%s: normalizer: %zu bytes of text become more than %zu", t->name,
                            bytes, to->count);
        work->normal_left -= to->count;
        text = to->data;
        bytes = to->count;
    }
    *out = text;
    *out_bytes = bytes;
    return PHY_OK;
}
