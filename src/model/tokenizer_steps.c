/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>

#include "base/alloc.h"
#include "base/log.h"
#include "format/array.h"
#include "model/tokenizer_load.h"

/* ---- values ---- */

static enum phy_status fail_kind(struct phy_tokenizer_loader *l, uint32_t node, const char *where, const char *key,
                                 const char *wanted)
{
    return phy_fail(l->t->host, PHY_ERR_FORMAT, "%s: %s: \"%s\" is %s, not %s", l->t->name, where, key,
                    phy_json_kind_name(l->dom.nodes[node].kind), wanted);
}

enum phy_status phy_load_get(struct phy_tokenizer_loader *l, uint32_t object, const char *where, const char *key,
                             bool required, uint32_t *node)
{
    bool twice;
    *node = phy_dom_get(&l->dom, object, key, &twice);
    if (twice)
        return phy_fail(l->t->host, PHY_ERR_FORMAT, "%s: %s: \"%s\" is there twice", l->t->name, where, key);
    if (*node && l->dom.nodes[*node].kind == PHY_JSON_NULL)
        *node = PHY_DOM_NONE;
    if (!*node && required)
        return phy_fail(l->t->host, PHY_ERR_FORMAT, "%s: %s: \"%s\" is missing", l->t->name, where, key);
    return PHY_OK;
}

enum phy_status phy_load_bool(struct phy_tokenizer_loader *l, uint32_t object, const char *where, const char *key,
                              bool required, bool *out)
{
    uint32_t node;
    enum phy_status status = phy_load_get(l, object, where, key, required, &node);
    if (status != PHY_OK || !node)
        return status;
    enum phy_json_kind kind = l->dom.nodes[node].kind;
    if (kind != PHY_JSON_TRUE && kind != PHY_JSON_FALSE)
        return fail_kind(l, node, where, key, "true or false");
    *out = kind == PHY_JSON_TRUE;
    return PHY_OK;
}

enum phy_status phy_load_text(struct phy_tokenizer_loader *l, uint32_t object, const char *where, const char *key,
                              bool required, const char **text, size_t *bytes)
{
    uint32_t node;
    enum phy_status status = phy_load_get(l, object, where, key, required, &node);
    if (status != PHY_OK || !node)
        return status;
    if (l->dom.nodes[node].kind != PHY_JSON_STRING)
        return fail_kind(l, node, where, key, "a string");
    *text = l->dom.nodes[node].text;
    *bytes = l->dom.nodes[node].bytes;
    return PHY_OK;
}

enum phy_status phy_load_number(struct phy_tokenizer_loader *l, uint32_t object, const char *where, const char *key,
                                uint64_t *out)
{
    uint32_t node;
    enum phy_status status = phy_load_get(l, object, where, key, true, &node);
    if (status != PHY_OK)
        return status;
    const struct phy_dom_node *n = &l->dom.nodes[node];
    struct phy_json_token token = {.kind = n->kind, .text = n->text, .bytes = n->bytes};
    return phy_json_whole_number(&token, out) ? PHY_OK : fail_kind(l, node, where, key, "a whole number from 0 on");
}

enum phy_status phy_load_id(struct phy_tokenizer_loader *l, uint32_t node, const char *where, uint32_t *out)
{
    const struct phy_dom_node *n = &l->dom.nodes[node];
    struct phy_json_token token = {.kind = n->kind, .text = n->text, .bytes = n->bytes};
    uint64_t id;
    char quoted[PHY_QUOTED_BYTES];
    if (phy_json_whole_number(&token, &id) && id <= PHY_TOKEN_ID_MAX) {
        *out = (uint32_t)id;
        return PHY_OK;
    }
    if (n->kind != PHY_JSON_NUMBER)
        return phy_fail(l->t->host, PHY_ERR_FORMAT, "%s: %s: the id is %s", l->t->name, where,
                        phy_json_kind_name(n->kind));
    return phy_fail(l->t->host, PHY_ERR_FORMAT, "%s: %s: the id %s is not a whole number from 0 to %d", l->t->name,
                    where, phy_quote(quoted, n->text, n->bytes), PHY_TOKEN_ID_MAX);
}

static enum phy_status copy(struct phy_tokenizer_loader *l, const char *text, size_t bytes, char **out,
                            size_t *out_bytes)
{
    *out = phy_strndup(text, bytes);
    *out_bytes = bytes;
    return *out ? PHY_OK : phy_fail_memory(l->t->host, "a component", bytes);
}

/* One character, as UTF-8. */
static enum phy_status load_char(struct phy_tokenizer_loader *l, uint32_t object, const char *where, const char *key,
                                 char out[4], size_t *out_bytes)
{
    const char *text = NULL;
    size_t bytes = 0;
    uint32_t code;
    enum phy_status status = phy_load_text(l, object, where, key, true, &text, &bytes);
    if (status != PHY_OK)
        return status;
    if (!bytes || phy_next_char(text, &code) != bytes)
        return phy_fail(l->t->host, PHY_ERR_FORMAT, "%s: %s: \"%s\" is not one character", l->t->name, where, key);
    memcpy(out, text, bytes);
    *out_bytes = bytes;
    return PHY_OK;
}

/* "pattern": {"String": text} or {"Regex": text}. */
static enum phy_status load_pattern(struct phy_tokenizer_loader *l, uint32_t object, const char *where,
                                    struct phy_pattern *out)
{
    uint32_t node;
    const char *text = NULL, *regex = NULL;
    size_t text_bytes = 0, regex_bytes = 0;
    enum phy_status status = phy_load_get(l, object, where, "pattern", true, &node);
    if (status == PHY_OK)
        status = phy_load_text(l, node, where, "String", false, &text, &text_bytes);
    if (status == PHY_OK)
        status = phy_load_text(l, node, where, "Regex", false, &regex, &regex_bytes);
    if (status != PHY_OK)
        return status;
    if (!text == !regex)
        return phy_fail(l->t->host, PHY_ERR_FORMAT, "%s: %s: the pattern is neither one \"String\" nor one \"Regex\"",
                        l->t->name, where);
    if (text && !text_bytes)
        return phy_fail(l->t->host, PHY_ERR_UNSUPPORTED, "%s: %s: an empty pattern is not supported", l->t->name,
                        where);
    if (text)
        return copy(l, text, text_bytes, &out->text, &out->bytes);
    char label[256];
    snprintf(label, sizeof label, "%.180s: %s", l->t->name, where);
    return phy_regex_compile(&out->regex, regex, regex_bytes, label, l->t->host);
}

/* ---- kinds of components ---- */

/* What a component's "type" means: a number of the caller's, or -1 for Sequence. */
struct type_name {
    const char *name;
    int kind;
};

enum { SEQUENCE = -1 };

/* "normalizer Replace", for messages. */
struct where {
    char text[64];
};

static enum phy_status load_type(struct phy_tokenizer_loader *l, uint32_t node, const char *what,
                                 const struct type_name *names, int *kind, struct where *where)
{
    const char *type = NULL;
    size_t bytes = 0;
    if (l->dom.nodes[node].kind != PHY_JSON_OBJECT)
        return phy_fail(l->t->host, PHY_ERR_FORMAT, "%s: %s is %s, not an object", l->t->name, what,
                        phy_json_kind_name(l->dom.nodes[node].kind));
    enum phy_status status = phy_load_text(l, node, what, "type", true, &type, &bytes);
    if (status != PHY_OK)
        return status;
    for (; names->name; names++) {
        if (strlen(names->name) == bytes && memcmp(names->name, type, bytes) == 0) {
            *kind = names->kind;
            snprintf(where->text, sizeof where->text, "%s %s", what, names->name);
            return PHY_OK;
        }
    }
    char quoted[PHY_QUOTED_BYTES];
    return phy_fail(l->t->host, PHY_ERR_UNSUPPORTED, "%s: %s %s is not supported", l->t->name, what,
                    phy_quote(quoted, type, bytes));
}

typedef enum phy_status load_one(struct phy_tokenizer_loader *l, uint32_t node);

/* Every item of a Sequence, by the function that also loads a single component: sequences may be nested, and how deep
 * is bounded by the JSON scanner. */
static enum phy_status load_sequence(struct phy_tokenizer_loader *l, uint32_t node, const char *where, const char *key,
                                     load_one *one)
{
    uint32_t list;
    enum phy_status status = phy_load_get(l, node, where, key, true, &list);
    if (status != PHY_OK)
        return status;
    if (l->dom.nodes[list].kind != PHY_JSON_ARRAY)
        return fail_kind(l, list, where, key, "an array");
    for (uint32_t item = l->dom.nodes[list].first; status == PHY_OK && item; item = l->dom.nodes[item].next)
        status = one(l, item);
    return status;
}

/* Room for one more step; NULL with *status set. */
static void *add_step(struct phy_tokenizer_loader *l, void *steps, size_t *count, size_t *capacity, size_t step_bytes,
                      const char *what, enum phy_status *status)
{
    if (*count == PHY_STEPS_MAX) {
        *status =
            phy_fail(l->t->host, PHY_ERR_LIMIT, "%s: more than %d steps of kind %s", l->t->name, PHY_STEPS_MAX, what);
        return NULL;
    }
    char *moved = phy_array_reserve(steps, capacity, *count + 1, step_bytes);
    if (!moved) {
        *status = phy_fail_memory(l->t->host, "a component", step_bytes);
        return NULL;
    }
    memset(moved + *count * step_bytes, 0, step_bytes);
    ++*count;
    return moved;
}

/* ---- normalizers ---- */

static enum phy_status load_normalizer(struct phy_tokenizer_loader *l, uint32_t node)
{
    static const struct type_name types[] = {
        {"Sequence", SEQUENCE},
        {"NFC", PHY_NORMALIZER_NFC},
        {"NFD", PHY_NORMALIZER_NFD},
        {"NFKC", PHY_NORMALIZER_NFKC},
        {"NFKD", PHY_NORMALIZER_NFKD},
        {"Lowercase", PHY_NORMALIZER_LOWERCASE},
        {"Strip", PHY_NORMALIZER_STRIP},
        {"Prepend", PHY_NORMALIZER_PREPEND},
        {"Replace", PHY_NORMALIZER_REPLACE},
        {NULL, 0},
    };
    struct phy_tokenizer *t = l->t;
    struct where w;
    int kind;
    enum phy_status status = load_type(l, node, "normalizer", types, &kind, &w);
    if (status != PHY_OK)
        return status;
    if (kind == SEQUENCE)
        return load_sequence(l, node, w.text, "normalizers", load_normalizer);
    void *steps = add_step(l, t->normalizers, &t->normalizer_count, &t->normalizer_capacity, sizeof *t->normalizers,
                           "normalizer", &status);
    if (!steps)
        return status;
    t->normalizers = steps;
    struct phy_normalizer *n = &t->normalizers[t->normalizer_count - 1];
    n->kind = (enum phy_normalizer_kind)kind;
    const char *text = NULL;
    size_t bytes = 0;
    if (kind == PHY_NORMALIZER_STRIP) {
        status = phy_load_bool(l, node, w.text, "strip_left", true, &n->left);
        return status == PHY_OK ? phy_load_bool(l, node, w.text, "strip_right", true, &n->right) : status;
    }
    if (kind != PHY_NORMALIZER_PREPEND && kind != PHY_NORMALIZER_REPLACE)
        return PHY_OK;
    status =
        phy_load_text(l, node, w.text, kind == PHY_NORMALIZER_PREPEND ? "prepend" : "content", true, &text, &bytes);
    if (status == PHY_OK)
        status = copy(l, text, bytes, &n->content, &n->content_bytes);
    if (status == PHY_OK && kind == PHY_NORMALIZER_REPLACE)
        status = load_pattern(l, node, w.text, &n->pattern);
    return status;
}

enum phy_status phy_load_normalizer(struct phy_tokenizer_loader *l)
{
    return l->dom.nodes[0].kind == PHY_JSON_NULL ? PHY_OK : load_normalizer(l, 0);
}

/* ---- pre-tokenizers ---- */

static enum phy_status add_splitter(struct phy_tokenizer_loader *l, int kind, struct phy_splitter **out)
{
    struct phy_tokenizer *t = l->t;
    enum phy_status status = PHY_OK;
    void *steps = add_step(l, t->splitters, &t->splitter_count, &t->splitter_capacity, sizeof *t->splitters,
                           "pre_tokenizer", &status);
    if (!steps)
        return status;
    t->splitters = steps;
    *out = &t->splitters[t->splitter_count - 1];
    (*out)->kind = (enum phy_splitter_kind)kind;
    return PHY_OK;
}

static enum phy_status load_split(struct phy_tokenizer_loader *l, uint32_t node, const char *where,
                                  struct phy_splitter *s)
{
    static const char *const names[] = {
        [PHY_SPLIT_REMOVED] = "Removed",
        [PHY_SPLIT_ISOLATED] = "Isolated",
        [PHY_SPLIT_MERGED_WITH_PREVIOUS] = "MergedWithPrevious",
        [PHY_SPLIT_MERGED_WITH_NEXT] = "MergedWithNext",
        [PHY_SPLIT_CONTIGUOUS] = "Contiguous",
    };
    const char *name = NULL;
    size_t bytes = 0;
    enum phy_status status = phy_load_text(l, node, where, "behavior", true, &name, &bytes);
    if (status == PHY_OK)
        status = phy_load_bool(l, node, where, "invert", true, &s->invert);
    if (status != PHY_OK)
        return status;
    for (int i = 0; i <= PHY_SPLIT_CONTIGUOUS; i++) {
        if (strlen(names[i]) == bytes && memcmp(names[i], name, bytes) == 0) {
            s->behavior = (enum phy_split_behavior)i;
            return load_pattern(l, node, where, &s->pattern);
        }
    }
    char quoted[PHY_QUOTED_BYTES];
    return phy_fail(l->t->host, PHY_ERR_UNSUPPORTED, "%s: %s: the behavior %s is not supported", l->t->name, where,
                    phy_quote(quoted, name, bytes));
}

static enum phy_status load_byte_level(struct phy_tokenizer_loader *l, uint32_t node, const char *where,
                                       struct phy_splitter *s)
{
    static const char gpt2[] = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";
    bool use_regex = true;
    /* Letters of letters would double the text with each step. */
    for (size_t i = 0; i < l->t->splitter_count; i++)
        if (l->t->splitters[i].kind == PHY_SPLITTER_LETTERS)
            return phy_fail(l->t->host, PHY_ERR_UNSUPPORTED, "%s: %s: a second one is not supported", l->t->name,
                            where);
    enum phy_status status = phy_load_bool(l, node, where, "add_prefix_space", true, &s->add_prefix_space);
    if (status == PHY_OK)
        status = phy_load_bool(l, node, where, "use_regex", false, &use_regex);
    if (status == PHY_OK && use_regex) {
        char label[256];
        snprintf(label, sizeof label, "%.180s: %s", l->t->name, where);
        status = phy_regex_compile(&s->pattern.regex, gpt2, sizeof gpt2 - 1, label, l->t->host);
    }
    return status == PHY_OK ? add_splitter(l, PHY_SPLITTER_LETTERS, &s) : status;
}

/* prepend_scheme, and add_prefix_space of older files, which may not contradict it. */
static enum phy_status load_prepend(struct phy_tokenizer_loader *l, uint32_t node, const char *where,
                                    enum phy_prepend_scheme *out)
{
    static const char *const names[] = {
        [PHY_PREPEND_ALWAYS] = "always", [PHY_PREPEND_FIRST] = "first", [PHY_PREPEND_NEVER] = "never"};
    const char *name = "always";
    size_t bytes = 6;
    bool add = true;
    enum phy_status status = phy_load_text(l, node, where, "prepend_scheme", false, &name, &bytes);
    if (status == PHY_OK)
        status = phy_load_bool(l, node, where, "add_prefix_space", false, &add);
    if (status != PHY_OK)
        return status;
    for (int i = 0; i <= PHY_PREPEND_NEVER; i++) {
        if (strlen(names[i]) != bytes || memcmp(names[i], name, bytes) != 0)
            continue;
        *out = (enum phy_prepend_scheme)i;
        if (!add && i != PHY_PREPEND_NEVER)
            return phy_fail(l->t->host, PHY_ERR_FORMAT,
                            "%s: %s: add_prefix_space false contradicts prepend_scheme \"%s\"", l->t->name, where,
                            names[i]);
        return PHY_OK;
    }
    char quoted[PHY_QUOTED_BYTES];
    return phy_fail(l->t->host, PHY_ERR_UNSUPPORTED, "%s: %s: the prepend_scheme %s is not supported", l->t->name,
                    where, phy_quote(quoted, name, bytes));
}

static enum phy_status load_metaspace(struct phy_tokenizer_loader *l, uint32_t node, const char *where,
                                      struct phy_splitter *s)
{
    s->split = true;
    enum phy_status status = load_char(l, node, where, "replacement", s->replacement, &s->replacement_bytes);
    if (status == PHY_OK)
        status = load_prepend(l, node, where, &s->prepend);
    return status == PHY_OK ? phy_load_bool(l, node, where, "split", false, &s->split) : status;
}

static enum phy_status load_pre_tokenizer(struct phy_tokenizer_loader *l, uint32_t node)
{
    static const struct type_name types[] = {
        {"Sequence", SEQUENCE},
        {"Split", PHY_SPLITTER_SPLIT},
        {"Digits", PHY_SPLITTER_DIGITS},
        {"ByteLevel", PHY_SPLITTER_BYTE_LEVEL},
        {"Metaspace", PHY_SPLITTER_METASPACE},
        {NULL, 0},
    };
    struct where w;
    int kind;
    struct phy_splitter *s;
    enum phy_status status = load_type(l, node, "pre_tokenizer", types, &kind, &w);
    if (status != PHY_OK)
        return status;
    if (kind == SEQUENCE)
        return load_sequence(l, node, w.text, "pretokenizers", load_pre_tokenizer);
    status = add_splitter(l, kind, &s);
    if (status != PHY_OK)
        return status;
    if (kind == PHY_SPLITTER_SPLIT)
        return load_split(l, node, w.text, s);
    if (kind == PHY_SPLITTER_BYTE_LEVEL)
        return load_byte_level(l, node, w.text, s);
    if (kind == PHY_SPLITTER_METASPACE)
        return load_metaspace(l, node, w.text, s);
    bool individual = false;
    status = phy_load_bool(l, node, w.text, "individual_digits", true, &individual);
    s->behavior = individual ? PHY_SPLIT_ISOLATED : PHY_SPLIT_CONTIGUOUS;
    return status;
}

enum phy_status phy_load_pre_tokenizer(struct phy_tokenizer_loader *l)
{
    return l->dom.nodes[0].kind == PHY_JSON_NULL ? PHY_OK : load_pre_tokenizer(l, 0);
}

/* ---- post-processors ---- */

/* The ids of one special token of the template, to `out`. */
static enum phy_status load_special(struct phy_tokenizer_loader *l, uint32_t tokens, const char *name,
                                    struct phy_ids *out)
{
    static const char where[] = "post_processor TemplateProcessing";
    uint32_t token = PHY_DOM_NONE, ids;
    enum phy_status status = phy_load_get(l, tokens, where, name, true, &token);
    if (status == PHY_OK)
        status = phy_load_get(l, token, where, "ids", true, &ids);
    if (status != PHY_OK)
        return status;
    if (l->dom.nodes[ids].kind != PHY_JSON_ARRAY)
        return fail_kind(l, ids, where, "ids", "an array");
    for (uint32_t item = l->dom.nodes[ids].first; status == PHY_OK && item; item = l->dom.nodes[item].next) {
        uint32_t id;
        status = phy_load_id(l, item, where, &id);
        if (status == PHY_OK && out->count == PHY_DOM_NODES_MAX) /* one token's ids may stand there often */
            return phy_fail(l->t->host, PHY_ERR_LIMIT, "%s: %s: more than %d ids", l->t->name, where,
                            PHY_DOM_NODES_MAX);
        if (status == PHY_OK && !phy_ids_put(out, id))
            status = phy_fail_memory(l->t->host, "a template", out->count);
    }
    return status;
}

static enum phy_status load_template(struct phy_tokenizer_loader *l, uint32_t node, const char *where)
{
    struct phy_tokenizer *t = l->t;
    uint32_t single, tokens, piece;
    bool text_seen = false;
    if (l->has_template)
        return phy_fail(t->host, PHY_ERR_UNSUPPORTED, "%s: %s: a second one is not supported", t->name, where);
    l->has_template = true;
    enum phy_status status = phy_load_get(l, node, where, "single", true, &single);
    if (status == PHY_OK)
        status = phy_load_get(l, node, where, "special_tokens", true, &tokens);
    if (status == PHY_OK && l->dom.nodes[single].kind != PHY_JSON_ARRAY)
        status = fail_kind(l, single, where, "single", "an array");
    if (status != PHY_OK)
        return status;
    for (uint32_t item = l->dom.nodes[single].first; status == PHY_OK && item; item = l->dom.nodes[item].next) {
        const char *id = NULL;
        size_t bytes = 0;
        bool twice;
        if ((piece = phy_dom_get(&l->dom, item, "SpecialToken", &twice)) != PHY_DOM_NONE) {
            status = phy_load_text(l, piece, where, "id", true, &id, &bytes);
            if (status == PHY_OK)
                status = load_special(l, tokens, id, text_seen ? &t->suffix : &t->prefix);
        } else if ((piece = phy_dom_get(&l->dom, item, "Sequence", &twice)) != PHY_DOM_NONE) {
            status = phy_load_text(l, piece, where, "id", true, &id, &bytes);
            if (status == PHY_OK && (text_seen || bytes != 1 || *id != 'A'))
                status = phy_fail(t->host, PHY_ERR_UNSUPPORTED, "%s: %s: \"single\" has more than the one Sequence A",
                                  t->name, where);
            text_seen = true;
        } else {
            status = phy_fail(t->host, PHY_ERR_FORMAT,
                              "%s: %s: \"single\" has an item that is neither SpecialToken nor "
                              "Sequence",
                              t->name, where);
        }
    }
    if (status == PHY_OK && !text_seen)
        status = phy_fail(t->host, PHY_ERR_UNSUPPORTED, "%s: %s: \"single\" has no Sequence A", t->name, where);
    return status;
}

static enum phy_status load_post_processor(struct phy_tokenizer_loader *l, uint32_t node)
{
    /* ByteLevel moves offsets and changes no id. */
    static const struct type_name types[] = {
        {"Sequence", SEQUENCE}, {"TemplateProcessing", 0}, {"ByteLevel", 1}, {NULL, 0}};
    struct where w;
    int kind;
    enum phy_status status = load_type(l, node, "post_processor", types, &kind, &w);
    if (status != PHY_OK)
        return status;
    if (kind == SEQUENCE)
        return load_sequence(l, node, w.text, "processors", load_post_processor);
    return kind == 0 ? load_template(l, node, w.text) : PHY_OK;
}

enum phy_status phy_load_post_processor(struct phy_tokenizer_loader *l)
{
    return l->dom.nodes[0].kind == PHY_JSON_NULL ? PHY_OK : load_post_processor(l, 0);
}

/* ---- decoders ---- */

static enum phy_status load_replace_decoder(struct phy_tokenizer_loader *l, uint32_t node, const char *where,
                                            struct phy_decoder *d)
{
    struct phy_pattern pattern = {0};
    const char *content = NULL;
    size_t bytes = 0;
    enum phy_status status = phy_load_text(l, node, where, "content", true, &content, &bytes);
    if (status == PHY_OK)
        status = load_pattern(l, node, where, &pattern);
    if (status == PHY_OK && pattern.regex)
        status = phy_fail(l->t->host, PHY_ERR_UNSUPPORTED, "%s: %s: a \"Regex\" is not supported", l->t->name, where);
    phy_regex_free(&pattern.regex);
    d->pattern = pattern.text;
    d->pattern_bytes = pattern.bytes;
    return status == PHY_OK ? copy(l, content, bytes, &d->content, &d->content_bytes) : status;
}

static enum phy_status load_decoder(struct phy_tokenizer_loader *l, uint32_t node)
{
    static const struct type_name types[] = {
        {"Sequence", SEQUENCE},
        {"ByteLevel", PHY_DECODER_BYTE_LEVEL},
        {"Replace", PHY_DECODER_REPLACE},
        {"ByteFallback", PHY_DECODER_BYTE_FALLBACK},
        {"Fuse", PHY_DECODER_FUSE},
        {"Strip", PHY_DECODER_STRIP},
        {"Metaspace", PHY_DECODER_METASPACE},
        {NULL, 0},
    };
    struct phy_tokenizer *t = l->t;
    struct where w;
    int kind;
    enum phy_status status = load_type(l, node, "decoder", types, &kind, &w);
    if (status != PHY_OK)
        return status;
    if (kind == SEQUENCE)
        return load_sequence(l, node, w.text, "decoders", load_decoder);
    void *steps =
        add_step(l, t->decoders, &t->decoder_count, &t->decoder_capacity, sizeof *t->decoders, "decoder", &status);
    if (!steps)
        return status;
    t->decoders = steps;
    struct phy_decoder *d = &t->decoders[t->decoder_count - 1];
    d->kind = (enum phy_decoder_kind)kind;
    if (kind == PHY_DECODER_REPLACE)
        return load_replace_decoder(l, node, w.text, d);
    if (kind == PHY_DECODER_METASPACE) {
        status = load_char(l, node, w.text, "replacement", d->character, &d->character_bytes);
        return status == PHY_OK ? load_prepend(l, node, w.text, &d->prepend) : status;
    }
    if (kind != PHY_DECODER_STRIP)
        return PHY_OK;
    status = load_char(l, node, w.text, "content", d->character, &d->character_bytes);
    if (status == PHY_OK)
        status = phy_load_number(l, node, w.text, "start", &d->start);
    return status == PHY_OK ? phy_load_number(l, node, w.text, "stop", &d->stop) : status;
}

enum phy_status phy_load_decoder(struct phy_tokenizer_loader *l)
{
    l->t->has_decoder = l->dom.nodes[0].kind != PHY_JSON_NULL;
    return l->t->has_decoder ? load_decoder(l, 0) : PHY_OK;
}
