/* SPDX-License-Identifier: Apache-2.0 */
#include "model/tokenizer_load.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#include "base/alloc.h"
#include "base/io.h"
#include "base/log.h"
#include "format/array.h"

enum { FILE_BYTES_MAX = 1 << 30 };

static enum phy_status no_memory(const struct phy_tokenizer_loader *l, const char *what)
{
    return phy_fail_memory(l->t->host, what, l->scan.bytes);
}

/* The next token; an error of the text has been reported. */
static enum phy_status next(struct phy_tokenizer_loader *l, struct phy_json_token *token)
{
    if (phy_json_next(&l->scan, token) != PHY_JSON_ERROR)
        return PHY_OK;
    return phy_dom_fail(token, l->t->name, l->t->host);
}

/* Pass over the value whose first token is `token`. */
static enum phy_status skip(struct phy_tokenizer_loader *l, struct phy_json_token token)
{
    size_t depth = 0;
    for (;;) {
        depth += token.kind == PHY_JSON_OBJECT || token.kind == PHY_JSON_ARRAY;
        depth -= token.kind == PHY_JSON_OBJECT_END || token.kind == PHY_JSON_ARRAY_END;
        if (depth == 0)
            return PHY_OK;
        enum phy_status status = next(l, &token);
        if (status != PHY_OK)
            return status;
    }
}

static enum phy_status read_tree(struct phy_tokenizer_loader *l, const struct phy_json_token *token)
{
    return phy_dom_read(&l->dom, &l->scan, token, l->t->name, l->t->host);
}

/* ---- the model ---- */

/* What the model's object holds besides its vocabulary and merges. */
struct model_facts {
    char type[64]; /* "" when it is missing, as in old files */
    bool has_vocab, vocab_is_object, has_merges;
};

static enum phy_status read_vocab(struct phy_tokenizer_loader *l, struct model_facts *facts)
{
    struct phy_bpe *bpe = &l->t->bpe;
    struct phy_json_token key, value;
    char quoted[PHY_QUOTED_BYTES], number[PHY_QUOTED_BYTES];
    facts->vocab_is_object = true;
    for (;;) {
        enum phy_status status = next(l, &key);
        if (status != PHY_OK || key.kind == PHY_JSON_OBJECT_END)
            return status;
        status = next(l, &value);
        if (status != PHY_OK)
            return status;
        uint64_t id;
        if (value.kind != PHY_JSON_NUMBER)
            return phy_fail(l->t->host, PHY_ERR_FORMAT, "%s: model: vocab %s: the id is %s", l->t->name,
                            phy_quote(quoted, key.text, key.bytes), phy_json_kind_name(value.kind));
        if (!phy_json_whole_number(&value, &id) || id > PHY_TOKEN_ID_MAX)
            return phy_fail(l->t->host, PHY_ERR_FORMAT,
                            "%s: model: vocab %s: the id %s is not a whole number from 0 to %d", l->t->name,
                            phy_quote(quoted, key.text, key.bytes), phy_quote(number, value.text, value.bytes),
                            PHY_TOKEN_ID_MAX);
        enum phy_name_added added = phy_name_set_add(&bpe->names, 0, key.text, key.bytes, (uint32_t)id, NULL);
        if (added == PHY_NAME_DUPLICATE)
            return phy_fail(l->t->host, PHY_ERR_FORMAT, "%s: model: vocab %s is there twice", l->t->name,
                            phy_quote(quoted, key.text, key.bytes));
        if (added == PHY_NAME_NO_MEMORY)
            return no_memory(l, "a vocabulary");
    }
}

static enum phy_status fail_merge(struct phy_tokenizer_loader *l, const char *fact)
{
    return phy_fail(l->t->host, PHY_ERR_FORMAT, "%s: model: merge %zu: %s", l->t->name, l->merge_count, fact);
}

static enum phy_status put_merge(struct phy_tokenizer_loader *l, const char *left, size_t left_bytes, const char *right,
                                 size_t right_bytes)
{
    if (!left_bytes || !right_bytes)
        return fail_merge(l, "an empty part");
    struct phy_merge_text *merges =
        phy_array_reserve(l->merges, &l->merge_capacity, l->merge_count + 1, sizeof *merges);
    if (!merges)
        return no_memory(l, "merges");
    l->merges = merges;
    merges[l->merge_count++] = (struct phy_merge_text){left, right, (uint32_t)left_bytes, (uint32_t)right_bytes};
    return PHY_OK;
}

/* "left right", as files had it once. */
static enum phy_status put_merge_line(struct phy_tokenizer_loader *l, const struct phy_json_token *line)
{
    if (line->bytes >= 8 && memcmp(line->text, "#version", 8) == 0)
        return PHY_OK;
    const char *space = memchr(line->text, ' ', line->bytes);
    size_t left = space ? (size_t)(space - line->text) : 0, right = space ? line->bytes - left - 1 : 0;
    if (!space || memchr(space + 1, ' ', right))
        return fail_merge(l, "not two parts with one space between");
    return put_merge(l, line->text, left, space + 1, right);
}

/* ["left", "right"], whose bracket has been read. */
static enum phy_status put_merge_pair(struct phy_tokenizer_loader *l)
{
    struct phy_json_token parts[3];
    for (int i = 0; i < 3; i++) {
        enum phy_status status = next(l, &parts[i]);
        if (status != PHY_OK)
            return status;
        if (parts[i].kind != (i < 2 ? PHY_JSON_STRING : PHY_JSON_ARRAY_END))
            return fail_merge(l, "not a pair of strings");
    }
    return put_merge(l, parts[0].text, parts[0].bytes, parts[1].text, parts[1].bytes);
}

static enum phy_status read_merges(struct phy_tokenizer_loader *l)
{
    struct phy_json_token token;
    enum phy_json_kind first = PHY_JSON_ARRAY_END;
    for (;;) {
        enum phy_status status = next(l, &token);
        if (status != PHY_OK || token.kind == PHY_JSON_ARRAY_END)
            return status;
        if (token.kind != PHY_JSON_STRING && token.kind != PHY_JSON_ARRAY)
            return fail_merge(l, "neither a string nor a pair");
        if (first == PHY_JSON_ARRAY_END)
            first = token.kind;
        if (token.kind != first)
            return fail_merge(l, "strings and pairs are mixed");
        status = token.kind == PHY_JSON_STRING ? put_merge_line(l, &token) : put_merge_pair(l);
        if (status != PHY_OK)
            return status;
    }
}

static enum phy_status fail_option(struct phy_tokenizer_loader *l, const char *option)
{
    return phy_fail(l->t->host, PHY_ERR_UNSUPPORTED, "%s: model: %s is not supported", l->t->name, option);
}

/* A switch of the model; null is false. */
static enum phy_status read_switch(struct phy_tokenizer_loader *l, const char *key, bool *out)
{
    enum phy_json_kind kind = l->dom.nodes[0].kind;
    if (kind != PHY_JSON_TRUE && kind != PHY_JSON_FALSE && kind != PHY_JSON_NULL)
        return phy_fail(l->t->host, PHY_ERR_FORMAT, "%s: model: \"%s\" is %s, not true or false", l->t->name, key,
                        phy_json_kind_name(kind));
    *out = kind == PHY_JSON_TRUE;
    return PHY_OK;
}

static enum phy_status read_unk(struct phy_tokenizer_loader *l)
{
    struct phy_bpe *bpe = &l->t->bpe;
    const struct phy_dom_node *n = &l->dom.nodes[0];
    if (n->kind == PHY_JSON_NULL)
        return PHY_OK;
    if (n->kind != PHY_JSON_STRING)
        return phy_fail(l->t->host, PHY_ERR_FORMAT, "%s: model: \"unk_token\" is %s, not a string", l->t->name,
                        phy_json_kind_name(n->kind));
    phy_free(bpe->unk_text);
    bpe->unk_text = phy_strndup(n->text, n->bytes);
    bpe->unk_bytes = n->bytes;
    bpe->has_unk = true;
    return bpe->unk_text ? PHY_OK : no_memory(l, "a vocabulary");
}

/* An option that must be null, or empty, or zero, to be what we do. */
static enum phy_status read_unused(struct phy_tokenizer_loader *l, const char *key)
{
    const struct phy_dom_node *n = &l->dom.nodes[0];
    bool zero = n->kind == PHY_JSON_NUMBER;
    for (size_t i = 0; zero && i < n->bytes; i++)
        zero = n->text[i] == '0' || n->text[i] == '.';
    if (n->kind == PHY_JSON_NULL || zero || (n->kind == PHY_JSON_STRING && n->bytes == 0))
        return PHY_OK;
    return fail_option(l, key);
}

static enum phy_status read_model_value(struct phy_tokenizer_loader *l, const struct phy_json_token *key,
                                        const struct phy_json_token *value, struct model_facts *facts)
{
    struct phy_bpe *bpe = &l->t->bpe;
    if (phy_json_is(key, "vocab") || phy_json_is(key, "merges")) {
        bool vocab = phy_json_is(key, "vocab");
        if (vocab ? facts->has_vocab : facts->has_merges)
            return phy_fail(l->t->host, PHY_ERR_FORMAT, "%s: model: \"%s\" is there twice", l->t->name, key->text);
        *(vocab ? &facts->has_vocab : &facts->has_merges) = true;
        /* Unigram's vocabulary is an array: its name is what the message must say, once it is known. */
        if (facts->type[0] && strcmp(facts->type, "BPE") != 0)
            return skip(l, *value);
        if (vocab)
            return value->kind == PHY_JSON_OBJECT ? read_vocab(l, facts) : skip(l, *value);
        if (value->kind != PHY_JSON_ARRAY)
            return phy_fail(l->t->host, PHY_ERR_FORMAT, "%s: model: \"merges\" is %s, not an array", l->t->name,
                            phy_json_kind_name(value->kind));
        return read_merges(l);
    }
    enum phy_status status = read_tree(l, value);
    if (status != PHY_OK)
        return status;
    if (phy_json_is(key, "type") && l->dom.nodes[0].kind == PHY_JSON_STRING) {
        snprintf(facts->type, sizeof facts->type, "%s", l->dom.nodes[0].bytes ? l->dom.nodes[0].text : " ");
        return PHY_OK;
    }
    if (phy_json_is(key, "unk_token"))
        return read_unk(l);
    if (phy_json_is(key, "fuse_unk"))
        return read_switch(l, key->text, &bpe->fuse_unk);
    if (phy_json_is(key, "byte_fallback"))
        return read_switch(l, key->text, &bpe->byte_fallback);
    if (phy_json_is(key, "ignore_merges"))
        return read_switch(l, key->text, &bpe->ignore_merges);
    if (phy_json_is(key, "dropout") || phy_json_is(key, "continuing_subword_prefix") ||
        phy_json_is(key, "end_of_word_suffix"))
        return read_unused(l, key->text);
    return PHY_OK;
}

static enum phy_status read_model(struct phy_tokenizer_loader *l, const struct phy_json_token *open)
{
    struct model_facts facts = {0};
    struct phy_json_token key, value;
    char quoted[PHY_QUOTED_BYTES];
    if (open->kind != PHY_JSON_OBJECT)
        return phy_fail(l->t->host, PHY_ERR_FORMAT, "%s: \"model\" is %s, not an object", l->t->name,
                        phy_json_kind_name(open->kind));
    for (;;) {
        enum phy_status status = next(l, &key);
        if (status == PHY_OK && key.kind == PHY_JSON_OBJECT_END)
            break;
        if (status == PHY_OK)
            status = next(l, &value);
        if (status == PHY_OK)
            status = read_model_value(l, &key, &value, &facts);
        if (status != PHY_OK)
            return status;
    }
    if (facts.type[0] && strcmp(facts.type, "BPE") != 0)
        return phy_fail(l->t->host, PHY_ERR_UNSUPPORTED, "%s: model %s is not supported", l->t->name,
                        phy_quote(quoted, facts.type, strlen(facts.type)));
    if (!facts.has_vocab || !facts.has_merges)
        return phy_fail(l->t->host, facts.type[0] ? PHY_ERR_FORMAT : PHY_ERR_UNSUPPORTED,
                        "%s: model: \"%s\" is missing%s", l->t->name, facts.has_vocab ? "merges" : "vocab",
                        facts.type[0] ? "" : ", and so is its type");
    if (!facts.vocab_is_object)
        return phy_fail(l->t->host, PHY_ERR_FORMAT, "%s: model: \"vocab\" is not an object", l->t->name);
    return PHY_OK;
}

/* Both parts of a merge, and what they give, must be tokens. */
static enum phy_status resolve_merge(struct phy_tokenizer_loader *l, size_t rank, struct phy_octets *whole)
{
    struct phy_bpe *bpe = &l->t->bpe;
    const struct phy_merge_text *m = &l->merges[rank];
    whole->count = 0;
    if (!phy_octets_put(whole, m->left, m->left_bytes) || !phy_octets_put(whole, m->right, m->right_bytes))
        return no_memory(l, "merges");
    const char *texts[3] = {m->left, m->right, whole->data};
    size_t bytes[3] = {m->left_bytes, m->right_bytes, whole->count};
    uint32_t ids[3];
    for (int i = 0; i < 3; i++) {
        char quoted[PHY_QUOTED_BYTES];
        ids[i] = phy_bpe_find(bpe, texts[i], bytes[i]);
        if (ids[i] == PHY_NO_TOKEN)
            return phy_fail(l->t->host, PHY_ERR_FORMAT, "%s: model: merge %zu: %s is not in the vocabulary", l->t->name,
                            rank, phy_quote(quoted, texts[i], bytes[i]));
    }
    bpe->merged[rank] = ids[2];
    return phy_pair_map_put(&bpe->merges, ids[0], ids[1], (uint32_t)rank) ? PHY_OK : no_memory(l, "merges");
}

static enum phy_status check_ids(struct phy_tokenizer_loader *l)
{
    const struct phy_bpe *bpe = &l->t->bpe;
    for (size_t i = 1; i < bpe->names.count; i++) {
        const struct phy_name *a = &bpe->names.names[bpe->by_id[i - 1]], *b = &bpe->names.names[bpe->by_id[i]];
        char first[PHY_QUOTED_BYTES], second[PHY_QUOTED_BYTES];
        if (a->value == b->value)
            return phy_fail(l->t->host, PHY_ERR_FORMAT, "%s: model: vocab %s and %s have the same id %u", l->t->name,
                            phy_quote(first, a->text, a->bytes), phy_quote(second, b->text, b->bytes), a->value);
    }
    return PHY_OK;
}

static enum phy_status finish_model(struct phy_tokenizer_loader *l)
{
    struct phy_bpe *bpe = &l->t->bpe;
    struct phy_octets whole = {0};
    enum phy_status status = PHY_OK;
    bpe->merge_count = l->merge_count;
    bpe->merged = phy_alloc(l->merge_count, sizeof *bpe->merged);
    if (!bpe->merged)
        return no_memory(l, "merges");
    for (size_t i = 0; status == PHY_OK && i < l->merge_count; i++)
        status = resolve_merge(l, i, &whole);
    phy_octets_free(&whole);
    if (status == PHY_OK && !phy_bpe_finish(bpe))
        status = no_memory(l, "a vocabulary");
    bpe->unk = bpe->has_unk ? phy_bpe_find(bpe, bpe->unk_text, bpe->unk_bytes) : PHY_NO_TOKEN;
    return status == PHY_OK ? check_ids(l) : status;
}

/* ---- added tokens ---- */

static enum phy_status load_added(struct phy_tokenizer_loader *l)
{
    struct phy_tokenizer *t = l->t;
    struct phy_added_token token = {0};
    const char *content = NULL;
    uint32_t id;
    char where[48];
    snprintf(where, sizeof where, "added_tokens %zu", t->added_count);
    if (l->dom.nodes[0].kind != PHY_JSON_OBJECT)
        return phy_fail(t->host, PHY_ERR_FORMAT, "%s: %s is %s, not an object", t->name, where,
                        phy_json_kind_name(l->dom.nodes[0].kind));
    enum phy_status status = phy_load_get(l, 0, where, "id", true, &id);
    if (status == PHY_OK)
        status = phy_load_id(l, id, where, &token.id);
    if (status == PHY_OK)
        status = phy_load_text(l, 0, where, "content", true, &content, &token.bytes);
    const struct {
        const char *key;
        bool *out;
    } switches[] = {{"single_word", &token.single_word},
                    {"lstrip", &token.lstrip},
                    {"rstrip", &token.rstrip},
                    {"normalized", &token.normalized},
                    {"special", &token.special}};
    for (size_t i = 0; status == PHY_OK && i < sizeof switches / sizeof *switches; i++)
        status = phy_load_bool(l, 0, where, switches[i].key, true, switches[i].out);
    if (status != PHY_OK || !token.bytes) /* an empty token matches nothing, and is ignored as elsewhere */
        return status;
    struct phy_added_token *added = phy_array_reserve(t->added, &t->added_capacity, t->added_count + 1, sizeof *added);
    if (!added)
        return no_memory(l, "added tokens");
    t->added = added;
    token.content = phy_strndup(content, token.bytes);
    if (!token.content)
        return no_memory(l, "added tokens");
    added[t->added_count++] = token;
    return PHY_OK;
}

static enum phy_status read_added(struct phy_tokenizer_loader *l, const struct phy_json_token *open)
{
    struct phy_json_token token;
    if (open->kind == PHY_JSON_NULL)
        return PHY_OK;
    if (open->kind != PHY_JSON_ARRAY)
        return phy_fail(l->t->host, PHY_ERR_FORMAT, "%s: \"added_tokens\" is %s, not an array", l->t->name,
                        phy_json_kind_name(open->kind));
    for (;;) {
        enum phy_status status = next(l, &token);
        if (status != PHY_OK || token.kind == PHY_JSON_ARRAY_END)
            return status;
        status = read_tree(l, &token);
        if (status == PHY_OK)
            status = load_added(l);
        if (status != PHY_OK)
            return status;
    }
}

/* An added token's id is its own, or that of the same text in the vocabulary. */
static enum phy_status check_added(struct phy_tokenizer_loader *l, size_t index)
{
    struct phy_tokenizer *t = l->t;
    const struct phy_added_token *a = &t->added[index];
    char quoted[PHY_QUOTED_BYTES], other[PHY_QUOTED_BYTES];
    uint32_t known = phy_bpe_find(&t->bpe, a->content, a->bytes);
    const struct phy_name *taken = phy_bpe_token(&t->bpe, a->id);
    phy_quote(quoted, a->content, a->bytes);
    if (known != PHY_NO_TOKEN && known != a->id)
        return phy_fail(t->host, PHY_ERR_FORMAT, "%s: added_tokens %zu %s: its id is %u, the vocabulary says %u",
                        t->name, index, quoted, a->id, known);
    if (known == PHY_NO_TOKEN && taken)
        return phy_fail(t->host, PHY_ERR_FORMAT, "%s: added_tokens %zu %s: its id %u is that of %s", t->name, index,
                        quoted, a->id, phy_quote(other, taken->text, taken->bytes));
    if (phy_pair_map_get(&t->added_by_id, 0, a->id) != PHY_PAIR_NONE)
        return phy_fail(t->host, PHY_ERR_FORMAT, "%s: added_tokens %zu %s: its id %u is there twice", t->name, index,
                        quoted, a->id);
    enum phy_name_added added = phy_name_set_add(&t->added_by_content, 0, a->content, a->bytes, (uint32_t)index, NULL);
    if (added == PHY_NAME_DUPLICATE)
        return phy_fail(t->host, PHY_ERR_FORMAT, "%s: added_tokens %zu %s is there twice", t->name, index, quoted);
    if (added == PHY_NAME_NO_MEMORY || !phy_pair_map_put(&t->added_by_id, 0, a->id, (uint32_t)index))
        return no_memory(l, "added tokens");
    if (a->special && phy_name_set_add(&t->special_contents, 0, a->content, a->bytes, 0, NULL) == PHY_NAME_NO_MEMORY)
        return no_memory(l, "added tokens");
    return PHY_OK;
}

static enum phy_status finish_added(struct phy_tokenizer_loader *l)
{
    enum phy_status status = PHY_OK;
    for (size_t i = 0; status == PHY_OK && i < l->t->added_count; i++)
        status = check_added(l, i);
    if (status == PHY_OK)
        status = phy_tokenizer_normalize_added(l->t);
    return status == PHY_OK ? phy_added_finish(l->t) : status;
}

/* ---- the file ---- */

static enum phy_status check_template(struct phy_tokenizer_loader *l)
{
    const struct phy_ids *lists[] = {&l->t->prefix, &l->t->suffix};
    size_t bytes;
    for (size_t k = 0; k < 2; k++)
        for (size_t i = 0; i < lists[k]->count; i++)
            if (!phy_tokenizer_piece(l->t, lists[k]->data[i], &bytes))
                return phy_fail(l->t->host, PHY_ERR_FORMAT,
                                "%s: post_processor TemplateProcessing: no token has the id %u", l->t->name,
                                lists[k]->data[i]);
    return PHY_OK;
}

static void find_id_limit(struct phy_tokenizer *t)
{
    const struct phy_bpe *bpe = &t->bpe;
    if (bpe->names.count)
        t->id_limit = bpe->names.names[bpe->by_id[bpe->names.count - 1]].value + 1;
    for (size_t i = 0; i < t->added_count; i++)
        if (t->added[i].id >= t->id_limit)
            t->id_limit = t->added[i].id + 1;
}

enum section {
    MODEL,
    ADDED,
    NORMALIZER,
    PRE_TOKENIZER,
    POST_PROCESSOR,
    DECODER,
    VERSION,
    TRUNCATION,
    PADDING,
    SECTIONS
};
static const char *const section_names[SECTIONS] = {
    "model",   "added_tokens", "normalizer", "pre_tokenizer", "post_processor",
    "decoder", "version",      "truncation", "padding",
};

static enum phy_status read_section(struct phy_tokenizer_loader *l, enum section section,
                                    const struct phy_json_token *value)
{
    if (section == MODEL)
        return read_model(l, value);
    if (section == ADDED)
        return read_added(l, value);
    enum phy_status status = read_tree(l, value);
    const struct phy_dom_node *root = l->dom.nodes;
    char quoted[PHY_QUOTED_BYTES];
    if (status != PHY_OK)
        return status;
    switch (section) {
    case NORMALIZER:
        return phy_load_normalizer(l);
    case PRE_TOKENIZER:
        return phy_load_pre_tokenizer(l);
    case POST_PROCESSOR:
        return phy_load_post_processor(l);
    case DECODER:
        return phy_load_decoder(l);
    case VERSION:
        if (root->kind == PHY_JSON_STRING && root->bytes == 3 && memcmp(root->text, "1.0", 3) == 0)
            return PHY_OK;
        return phy_fail(l->t->host, PHY_ERR_UNSUPPORTED, "%s: version %s is not supported", l->t->name,
                        root->text ? phy_quote(quoted, root->text, root->bytes) : phy_json_kind_name(root->kind));
    default: /* as transformers does, which sets both anew for each call */
        if (root->kind != PHY_JSON_NULL)
            phy_warn(l->t->host, "%s: %s is ignored", l->t->name, section_names[section]);
        return PHY_OK;
    }
}

static enum phy_status read_file(struct phy_tokenizer_loader *l)
{
    struct phy_json_token key, value;
    bool seen[SECTIONS] = {0};
    enum phy_status status = next(l, &key);
    if (status == PHY_OK && key.kind != PHY_JSON_OBJECT)
        status = phy_fail(l->t->host, PHY_ERR_FORMAT, "%s: it is %s, not an object", l->t->name,
                          phy_json_kind_name(key.kind));
    while (status == PHY_OK) {
        status = next(l, &key);
        if (status != PHY_OK || key.kind == PHY_JSON_OBJECT_END)
            break;
        status = next(l, &value);
        if (status != PHY_OK)
            break;
        int section = 0;
        while (section < SECTIONS && !phy_json_is(&key, section_names[section]))
            section++;
        if (section < SECTIONS && seen[section])
            status = phy_fail(l->t->host, PHY_ERR_FORMAT, "%s: \"%s\" is there twice", l->t->name, key.text);
        else
            status = section < SECTIONS ? read_section(l, (enum section)section, &value) : skip(l, value);
        if (section < SECTIONS)
            seen[section] = true;
    }
    if (status == PHY_OK)
        status = next(l, &key); /* nothing may follow */
    if (status == PHY_OK && !seen[MODEL])
        status = phy_fail(l->t->host, PHY_ERR_FORMAT, "%s: \"model\" is missing", l->t->name);
    return status;
}

/* `text` is the loader's to change. */
static enum phy_status load(struct phy_tokenizer *t, char *text, size_t bytes)
{
    struct phy_tokenizer_loader l = {.t = t};
    size_t valid = phy_json_utf8_end(text, bytes);
    if (valid != bytes)
        return phy_fail(t->host, PHY_ERR_FORMAT, "%s: byte %zu is not UTF-8", t->name, valid);
    phy_json_begin(&l.scan, text, bytes);
    enum phy_status status = read_file(&l);
    if (status == PHY_OK)
        status = finish_model(&l);
    if (status == PHY_OK)
        status = finish_added(&l);
    if (status == PHY_OK)
        status = check_template(&l);
    if (status == PHY_OK)
        find_id_limit(t);
    phy_dom_free(&l.dom);
    phy_free(l.merges);
    return status;
}

/* `text` is freed. */
static enum phy_status parse(struct phy_tokenizer **out, char *text, size_t bytes, const char *name,
                             const struct phy_host *host)
{
    struct phy_tokenizer *t = phy_zalloc(1, sizeof *t);
    enum phy_status status = PHY_OK;
    if (t) {
        t->host = host;
        t->name = phy_strndup(name, strlen(name));
    }
    if (!t || !t->name)
        status = phy_fail_memory(host, "a tokenizer", sizeof *t);
    else
        status = load(t, text, bytes);
    phy_free(text);
    if (status != PHY_OK)
        phy_tokenizer_close(&t);
    *out = t;
    return status;
}

enum phy_status phy_tokenizer_parse(struct phy_tokenizer **out, const char *json, size_t bytes, const char *name,
                                    const struct phy_tokenizer_params *params)
{
    const struct phy_host *host = params ? params->host : NULL;
    *out = NULL;
    if (bytes > FILE_BYTES_MAX)
        return phy_fail(host, PHY_ERR_LIMIT, "%s: %zu bytes, at most %d are read", name, bytes, FILE_BYTES_MAX);
    char *text = phy_alloc(bytes, 1);
    if (!text)
        return phy_fail_memory(host, "a tokenizer", bytes);
    if (bytes)
        memcpy(text, json, bytes);
    return parse(out, text, bytes, name, host);
}

/* The whole regular file, to *text. */
static enum phy_status read_descriptor(int fd, const char *name, const struct phy_host *host, char **text,
                                       size_t *bytes)
{
    struct stat st;
    if (fstat(fd, &st) != 0)
        return phy_fail(host, PHY_ERR_IO, "%s: %s", name, strerror(errno));
    if (!S_ISREG(st.st_mode))
        return phy_fail(host, PHY_ERR_IO, "%s: not a regular file", name);
    if (st.st_size > FILE_BYTES_MAX)
        return phy_fail(host, PHY_ERR_LIMIT, "%s: %lld bytes, at most %d are read", name, (long long)st.st_size,
                        FILE_BYTES_MAX);
    *bytes = (size_t)st.st_size;
    *text = phy_alloc(*bytes, 1);
    if (!*text)
        return phy_fail_memory(host, "a tokenizer", *bytes);
    int error = phy_pread_all(fd, *text, *bytes, 0);
    if (!error)
        return PHY_OK;
    phy_free(*text);
    return phy_fail(host, PHY_ERR_IO, "%s: %s", name, error == ENODATA ? "it has shrunk" : strerror(error));
}

enum phy_status phy_tokenizer_open(struct phy_tokenizer **out, const char *path,
                                   const struct phy_tokenizer_params *params)
{
    const struct phy_host *host = params ? params->host : NULL;
    const char *name = path;
    struct stat st;
    *out = NULL;
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    if (fd >= 0 && fstat(fd, &st) == 0 && S_ISDIR(st.st_mode)) {
        int inside = openat(fd, "tokenizer.json", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
        int error = errno;
        name = "tokenizer.json";
        phy_close(fd);
        fd = inside;
        errno = error;
    }
    if (fd < 0)
        return phy_fail(host, PHY_ERR_IO, "%s: %s", name, strerror(errno));
    char *text = NULL;
    size_t bytes = 0;
    enum phy_status status = read_descriptor(fd, name, host, &text, &bytes);
    phy_close(fd);
    return status == PHY_OK ? parse(out, text, bytes, name, host) : status;
}
