/* SPDX-License-Identifier: Apache-2.0 */
#include "base/alloc.h"
#include "base/log.h"
#include "format/json_scan.h"
#include "model/tokenizer_parts.h"

/* Steps that the patterns may take: a few for each byte is what a sane pattern needs, plus a start for short texts. */
enum { STEPS_PER_BYTE = 256, STEPS_AT_LEAST = 1 << 26 };
/* The same for what all normalizers put out together: NFKC makes at most 11 bytes of one. */
enum { NORMAL_PER_BYTE = 64, NORMAL_AT_LEAST = 1 << 20 };

static bool start(struct phy_encode_work *work, const struct phy_tokenizer *t, size_t bytes, struct phy_ids *out)
{
    *work = (struct phy_encode_work){.tokenizer = t, .out = out};
    work->regex.host = t->host;
    work->regex.steps_max = STEPS_AT_LEAST + STEPS_PER_BYTE * (uint64_t)bytes;
    work->normal_left = NORMAL_AT_LEAST + NORMAL_PER_BYTE * (uint64_t)bytes;
    work->bpe.bpe = &t->bpe;
    work->bpe.host = t->host;
    work->bpe.name = t->name;
    work->pieces = phy_zalloc(t->splitter_count, sizeof *work->pieces);
    return work->pieces != NULL;
}

static void finish(struct phy_encode_work *work)
{
    for (size_t i = 0; work->pieces && i < work->tokenizer->splitter_count; i++)
        phy_octets_free(&work->pieces[i]);
    phy_free(work->pieces);
    phy_octets_free(&work->normal[0]);
    phy_octets_free(&work->normal[1]);
    phy_ids_free(&work->codes);
    phy_regex_work_free(&work->regex);
    phy_bpe_work_free(&work->bpe);
}

static enum phy_status no_memory(const struct phy_encode_work *work)
{
    return phy_fail_memory(work->tokenizer->host, "a text's ids", work->out->count * sizeof *work->out->data);
}

/* Text between two tokens that are matched as written: normalize, cut at the tokens that are matched after that. */
static enum phy_status encode_stretch(struct phy_encode_work *work, const char *text, size_t bytes, bool at_start,
                                      bool special_as_text)
{
    const struct phy_tokenizer *t = work->tokenizer;
    struct phy_stretches stretches = {0};
    enum phy_status status = phy_normalize(work, text, bytes, &text, &bytes, &at_start);
    if (status == PHY_OK && bytes && !phy_find_added(t, &t->normal, text, bytes, special_as_text, &stretches))
        status = no_memory(work);
    for (size_t i = 0; status == PHY_OK && i < stretches.count; i++) {
        const struct phy_stretch *s = &stretches.items[i];
        if (s->token == PHY_NO_TOKEN)
            status = phy_split(work, 0, text + s->begin, s->end - s->begin, at_start && s->begin == 0);
        else if (!phy_ids_put(work->out, t->added[s->token].id))
            status = no_memory(work);
    }
    phy_free(stretches.items);
    return status;
}

static enum phy_status encode_text(struct phy_encode_work *work, const char *text, size_t bytes, bool special_as_text)
{
    const struct phy_tokenizer *t = work->tokenizer;
    struct phy_stretches stretches = {0};
    enum phy_status status = PHY_OK;
    if (!phy_find_added(t, &t->raw, text, bytes, special_as_text, &stretches))
        status = no_memory(work);
    for (size_t i = 0; status == PHY_OK && i < stretches.count; i++) {
        const struct phy_stretch *s = &stretches.items[i];
        if (s->token == PHY_NO_TOKEN)
            status = encode_stretch(work, text + s->begin, s->end - s->begin, s->begin == 0, special_as_text);
        else if (!phy_ids_put(work->out, t->added[s->token].id))
            status = no_memory(work);
        if (status == PHY_OK && i % 4096 == 4095 && phy_cancelled(t->host))
            status = phy_fail(t->host, PHY_ERR_INTERRUPTED, "%s: interrupted", t->name);
    }
    phy_free(stretches.items);
    return status;
}

static bool put_all(struct phy_ids *out, const struct phy_ids *ids)
{
    for (size_t i = 0; i < ids->count; i++)
        if (!phy_ids_put(out, ids->data[i]))
            return false;
    return true;
}

enum phy_status phy_tokenizer_encode(const struct phy_tokenizer *t, const char *text, size_t bytes,
                                     const struct phy_encode_params *params, struct phy_id_list *out)
{
    const char *name = params && params->name ? params->name : "the text";
    *out = (struct phy_id_list){0};
    if (bytes > PHY_TEXT_BYTES_MAX)
        return phy_fail(t->host, PHY_ERR_LIMIT, "%s: %zu bytes, at most %d are encoded at once", name, bytes,
                        PHY_TEXT_BYTES_MAX);
    size_t valid = phy_json_utf8_end(text, bytes);
    if (valid != bytes)
        return phy_fail(t->host, PHY_ERR_FORMAT, "%s is not UTF-8 at byte %zu", name, valid);
    bool special = !params || !params->no_special;
    struct phy_encode_work work;
    struct phy_ids ids = {0};
    enum phy_status status = start(&work, t, bytes, &ids) ? PHY_OK : no_memory(&work);
    if (status == PHY_OK && special && !put_all(&ids, &t->prefix))
        status = no_memory(&work);
    if (status == PHY_OK && bytes)
        status = encode_text(&work, text, bytes, params && params->special_as_text);
    if (status == PHY_OK && ((special && !put_all(&ids, &t->suffix)) || !phy_ids_reserve(&ids, 1)))
        status = no_memory(&work);
    finish(&work);
    if (status != PHY_OK)
        phy_ids_free(&ids);
    else
        *out = (struct phy_id_list){ids.data, ids.count};
    return status;
}

void phy_id_list_free(struct phy_id_list *list)
{
    phy_free(list->ids);
    *list = (struct phy_id_list){0};
}

enum phy_status phy_tokenizer_normalize_added(struct phy_tokenizer *t)
{
    struct phy_encode_work work;
    enum phy_status status = PHY_OK;
    struct phy_ids none = {0};
    size_t all = 0;
    for (size_t i = 0; i < t->added_count; i++)
        all += t->added[i].bytes;
    if (!start(&work, t, all, &none))
        return no_memory(&work);
    for (size_t i = 0; status == PHY_OK && i < t->added_count; i++) {
        struct phy_added_token *token = &t->added[i];
        const char *normal;
        size_t bytes;
        bool at_start = true;
        if (!token->normalized || !t->normalizer_count)
            continue;
        status = phy_normalize(&work, token->content, token->bytes, &normal, &bytes, &at_start);
        if (status != PHY_OK || (bytes == token->bytes && memcmp(normal, token->content, bytes) == 0))
            continue;
        token->normal = phy_strndup(normal, bytes);
        token->normal_bytes = bytes;
        if (!token->normal)
            status = no_memory(&work);
    }
    finish(&work);
    return status;
}
