/* SPDX-License-Identifier: Apache-2.0 */
/* tokenizer.json in the words of GGUF: "gpt2" (byte-level BPE with its merges) or "llama" (pieces with scores).
 *
 * Readers of "llama" merge the pair whose whole has the best score; tokenizer.json merges the pair of the lowest rank.
 * A token's score is therefore less the rank of the first merge that gives it: the same order. Tokens that no merge
 * gives come last. */
#include <cjson/cJSON.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/log.h"
#include "ffn/export_run.h"
#include "format/json_scan.h"
#include "import/tokenizer.h"
#include "model/tokenizer_parts.h"

enum { TOKENIZER_BYTES_MAX = 1 << 30, SMALL_FILE_BYTES = 16 << 20, PATTERNS_MAX = 4 };

struct speller {
    struct phy_export *run;
    struct phy_tokenizer *t;
    char *text; /* of tokenizer.json */
    size_t bytes;
    bool pieces;           /* "llama", else "gpt2" */
    bool add_space_prefix; /* pieces */
    const char *pre;       /* "smollm" ... */
    cJSON *settings;       /* tokenizer_config.json, or NULL */
    cJSON *config;         /* config.json */
};

static enum phy_status refuse(const struct speller *s, const char *what)
{
    return phy_fail(s->run->host, PHY_ERR_UNSUPPORTED, "tokenizer.json: %s: GGUF has no word for it", what);
}

/* ---- parts of tokenizer.json that the loaded tokenizer has compiled ---- */

/* The text of a member of the root object, as a tree; NULL when it is absent, null, or memory ran out. */
static cJSON *member_tree(const struct speller *s, const char *key)
{
    char *copy = phy_strndup(s->text, s->bytes);
    struct phy_json_scan scan;
    struct phy_json_token token;
    cJSON *tree = NULL;
    if (!copy)
        return NULL;
    phy_json_begin(&scan, copy, s->bytes);
    unsigned depth = 0;
    bool found = false;
    while (phy_json_next(&scan, &token) != PHY_JSON_END && token.kind != PHY_JSON_ERROR) {
        const size_t begin = token.at;
        if (found) {
            unsigned inner = 0;
            do {
                inner += token.kind == PHY_JSON_OBJECT || token.kind == PHY_JSON_ARRAY;
                inner -= token.kind == PHY_JSON_OBJECT_END || token.kind == PHY_JSON_ARRAY_END;
            } while (inner && phy_json_next(&scan, &token) != PHY_JSON_ERROR);
            tree = cJSON_ParseWithLength(s->text + begin, scan.at - begin);
            break;
        }
        depth += token.kind == PHY_JSON_OBJECT || token.kind == PHY_JSON_ARRAY;
        depth -= token.kind == PHY_JSON_OBJECT_END || token.kind == PHY_JSON_ARRAY_END;
        found = depth == 1 && token.kind == PHY_JSON_KEY && phy_json_is(&token, key);
    }
    phy_free(copy);
    return tree;
}

static const char *text_of(const cJSON *object, const char *key)
{
    const char *text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(object, key));
    return text ? text : "";
}

static bool flag_of(const cJSON *object, const char *key, bool otherwise)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, key);
    return cJSON_IsBool(item) ? cJSON_IsTrue(item) : otherwise;
}

/* What a pre-tokenizer amounts to, to be compared with the kinds that GGUF has names for. */
struct cutting {
    const char *patterns[PATTERNS_MAX];
    size_t count;
    bool digits, gpt2, other;
};

static void add_step(struct cutting *c, const cJSON *step)
{
    const char *type = text_of(step, "type");
    const cJSON *inner;
    if (strcmp(type, "Sequence") == 0) {
        cJSON_ArrayForEach(inner, cJSON_GetObjectItemCaseSensitive(step, "pretokenizers")) add_step(c, inner);
    } else if (strcmp(type, "Digits") == 0) {
        c->other |= c->count > 0 || !flag_of(step, "individual_digits", false);
        c->digits = true;
    } else if (strcmp(type, "ByteLevel") == 0) {
        c->other |= flag_of(step, "add_prefix_space", true);
        c->gpt2 |= flag_of(step, "use_regex", true);
    } else if (strcmp(type, "Split") == 0 && c->count < PATTERNS_MAX) {
        c->patterns[c->count++] = text_of(cJSON_GetObjectItemCaseSensitive(step, "pattern"), "Regex");
        c->other |= strcmp(text_of(step, "behavior"), "Isolated") != 0 || flag_of(step, "invert", false);
    } else {
        c->other = true;
    }
}

static bool cuts_alike(const struct cutting *c, const struct pre_tokenizer *kind)
{
    size_t count = 0;
    while (count < PATTERNS_MAX && kind->patterns[count])
        count++;
    if (c->other || c->digits != kind->digits || c->gpt2 != kind->gpt2 || c->count != count)
        return false;
    for (size_t i = 0; i < count; i++) {
        if (strcmp(c->patterns[i], kind->patterns[i]) != 0)
            return false;
    }
    return true;
}

static enum phy_status find_pre_tokenizer(struct speller *s)
{
    static const char *const names[] = {"smollm",           "gpt-2",  "llama-bpe", "qwen2",
                                        "deepseek-r1-qwen", "tekken", "default"};
    struct cutting cutting = {0};
    bool nfc = false;
    for (size_t i = 0; i < s->t->normalizer_count; i++) {
        if (s->t->normalizers[i].kind != PHY_NORMALIZER_NFC)
            return refuse(s, "a normalizer before byte-level BPE");
        nfc = true;
    }
    cJSON *tree = member_tree(s, "pre_tokenizer");
    add_step(&cutting, tree);
    for (size_t i = 0; i < sizeof names / sizeof *names && !s->pre; i++) {
        const struct pre_tokenizer *kind = phy_pre_tokenizer(names[i]);
        if (cuts_alike(&cutting, kind) && kind->nfc == nfc && (!kind->ignore_merges || s->t->bpe.ignore_merges))
            s->pre = names[i];
    }
    cJSON_Delete(tree);
    return s->pre ? PHY_OK : refuse(s, "this pre-tokenizer");
}

/* A prefix of U+2581 and spaces as U+2581, by normalizers or by Metaspace. */
static enum phy_status find_space_prefix(struct speller *s)
{
    const struct phy_tokenizer *t = s->t;
    s->pre = "default";
    for (size_t i = 0; i < t->normalizer_count; i++) {
        const struct phy_normalizer *n = &t->normalizers[i];
        const bool marks = n->content_bytes == strlen(SPACE_MARK) && memcmp(n->content, SPACE_MARK, 3) == 0;
        const bool of_space = n->kind == PHY_NORMALIZER_REPLACE && !n->pattern.regex && n->pattern.bytes == 1 &&
                              n->pattern.text[0] == ' ';
        if (n->kind == PHY_NORMALIZER_PREPEND && marks)
            s->add_space_prefix = true;
        else if (!of_space || !marks)
            return refuse(s, "a normalizer of pieces");
    }
    for (size_t i = 0; i < t->splitter_count; i++) {
        const struct phy_splitter *p = &t->splitters[i];
        /* Gemma's isolates spaces, which are U+2581 by then: it never matches. */
        if (p->kind == PHY_SPLITTER_METASPACE)
            s->add_space_prefix |= p->prepend != PHY_PREPEND_NEVER;
        else if (p->kind != PHY_SPLITTER_SPLIT || p->pattern.regex || p->pattern.bytes != 1 ||
                 p->pattern.text[0] != ' ')
            return refuse(s, "a pre-tokenizer of pieces");
    }
    return PHY_OK;
}

/* ---- tokens ---- */

static const struct phy_added_token *added_token(const struct speller *s, uint32_t id)
{
    const uint32_t index = phy_pair_map_get(&s->t->added_by_id, 0, id);
    return index == PHY_PAIR_NONE ? NULL : &s->t->added[index];
}

static bool is_byte_token(const struct speller *s, uint32_t id)
{
    size_t bytes;
    const char *text = phy_tokenizer_piece(s->t, id, &bytes);
    return s->pieces && text && bytes == 6 && memcmp(text, "<0x", 3) == 0 && text[5] == '>';
}

static enum token_type type_of(const struct speller *s, uint32_t id)
{
    size_t bytes;
    const struct phy_added_token *added = added_token(s, id);
    if (!phy_tokenizer_piece(s->t, id, &bytes))
        return TOKEN_UNUSED;
    if (s->pieces && s->t->bpe.has_unk && s->t->bpe.unk == id)
        return TOKEN_UNKNOWN;
    if (added)
        return added->special ? TOKEN_CONTROL : TOKEN_USER_DEFINED;
    return is_byte_token(s, id) ? TOKEN_BYTE : TOKEN_NORMAL;
}

/* User-defined pieces hold real spaces in a GGUF file. */
static void put_token(const struct speller *s, uint32_t id, struct phy_bytes *to)
{
    size_t bytes;
    char filler[32];
    const char *text = phy_tokenizer_piece(s->t, id, &bytes);
    if (!text) {
        snprintf(filler, sizeof filler, "[PAD%u]", id);
        phy_gguf_put_string(to, filler, strlen(filler));
        return;
    }
    if (!s->pieces || type_of(s, id) != TOKEN_USER_DEFINED) {
        phy_gguf_put_string(to, text, bytes);
        return;
    }
    size_t marks = 0;
    for (size_t i = 0; i + 3 <= bytes; i++)
        marks += memcmp(text + i, SPACE_MARK, 3) == 0;
    phy_bytes_add_u64(to, bytes - 2 * marks);
    for (size_t i = 0; i < bytes; i++) {
        const bool mark = i + 3 <= bytes && memcmp(text + i, SPACE_MARK, 3) == 0;
        phy_bytes_add(to, mark ? " " : text + i, 1);
        i += mark ? 2 : 0;
    }
}

static enum phy_status put_tokens(struct speller *s, struct phy_gguf_keys *keys)
{
    const uint32_t count = s->run->donor.config.vocab_size;
    if (phy_tokenizer_id_limit(s->t) > count)
        return phy_fail(s->run->host, PHY_ERR_FORMAT, "tokenizer.json: ids up to %u, but the model has %u tokens",
                        phy_tokenizer_id_limit(s->t) - 1, count);
    phy_gguf_key_array(keys, "tokenizer.ggml.tokens", GGUF_STRING, count);
    for (uint32_t id = 0; id < count; id++)
        put_token(s, id, &keys->bytes);
    phy_gguf_key_array(keys, "tokenizer.ggml.token_type", GGUF_I32, count);
    for (uint32_t id = 0; id < count; id++)
        phy_bytes_add_u32(&keys->bytes, (uint32_t)type_of(s, id));
    s->run->result.token_count = count;
    return PHY_OK;
}

static enum phy_status put_scores(struct speller *s, struct phy_gguf_keys *keys)
{
    const uint32_t count = s->run->donor.config.vocab_size;
    const struct phy_bpe *bpe = &s->t->bpe;
    float *scores = phy_alloc(count, sizeof *scores);
    if (!scores)
        return phy_fail_memory(s->run->host, "token scores", count * sizeof *scores);
    for (uint32_t id = 0; id < count; id++)
        scores[id] = -(float)bpe->merge_count;
    for (size_t rank = bpe->merge_count; rank-- > 0;)
        scores[bpe->merged[rank]] = -(float)rank; /* the first one stays */
    phy_gguf_key_array(keys, "tokenizer.ggml.scores", GGUF_F32, count);
    for (uint32_t id = 0; id < count; id++)
        phy_gguf_put_f32(&keys->bytes, scores[id]);
    phy_free(scores);
    return PHY_OK;
}

static enum phy_status put_merges(struct speller *s, struct phy_gguf_keys *keys)
{
    const struct phy_bpe *bpe = &s->t->bpe;
    struct pair {
        uint32_t left, right;
    } *pairs = phy_alloc(bpe->merge_count, sizeof *pairs);
    if (!pairs)
        return phy_fail_memory(s->run->host, "merges", bpe->merge_count * sizeof *pairs);
    memset(pairs, 0xFF, bpe->merge_count * sizeof *pairs);
    for (size_t i = 0; i < bpe->merges.slot_count; i++) {
        const struct phy_pair_slot *slot = &bpe->merges.slots[i];
        if (slot->value != PHY_PAIR_NONE)
            pairs[slot->value] = (struct pair){slot->high, slot->low};
    }
    size_t count = 0;
    for (size_t rank = 0; rank < bpe->merge_count; rank++)
        count += pairs[rank].left != UINT32_MAX; /* a pair that is listed again has its other rank */
    phy_gguf_key_array(keys, "tokenizer.ggml.merges", GGUF_STRING, count);
    for (size_t rank = 0; rank < bpe->merge_count; rank++) {
        if (pairs[rank].left == UINT32_MAX)
            continue;
        const struct phy_name *left = phy_bpe_token(bpe, pairs[rank].left),
                              *right = phy_bpe_token(bpe, pairs[rank].right);
        phy_bytes_add_u64(&keys->bytes, (uint64_t)left->bytes + 1 + right->bytes);
        phy_bytes_add(&keys->bytes, left->text, left->bytes);
        phy_bytes_add(&keys->bytes, " ", 1);
        phy_bytes_add(&keys->bytes, right->text, right->bytes);
    }
    phy_free(pairs);
    return PHY_OK;
}

/* ---- tokens with a meaning ---- */

/* tokenizer_config.json names the token, config.json its id. */
static bool special_id(const struct speller *s, const char *token_key, const char *id_key, uint32_t *id)
{
    const cJSON *token = cJSON_GetObjectItemCaseSensitive(s->settings, token_key);
    if (cJSON_IsObject(token))
        token = cJSON_GetObjectItemCaseSensitive(token, "content");
    const char *text = cJSON_GetStringValue(token);
    if (text && phy_tokenizer_find(s->t, text, strlen(text), id))
        return true;
    const cJSON *number = cJSON_GetObjectItemCaseSensitive(s->config, id_key);
    if (cJSON_IsArray(number))
        number = cJSON_GetArrayItem(number, 0);
    if (!cJSON_IsNumber(number) || number->valuedouble < 0 || number->valuedouble >= s->run->donor.config.vocab_size)
        return false;
    *id = (uint32_t)number->valuedouble;
    return true;
}

static bool holds(const struct phy_ids *ids, uint32_t id)
{
    for (size_t i = 0; i < ids->count; i++) {
        if (ids->data[i] == id)
            return true;
    }
    return false;
}

static void put_specials(const struct speller *s, struct phy_gguf_keys *keys)
{
    static const struct {
        const char *token, *id, *gguf;
    } specials[] = {{"bos_token", "bos_token_id", "tokenizer.ggml.bos_token_id"},
                    {"eos_token", "eos_token_id", "tokenizer.ggml.eos_token_id"},
                    {"unk_token", "unk_token_id", "tokenizer.ggml.unknown_token_id"},
                    {"pad_token", "pad_token_id", "tokenizer.ggml.padding_token_id"},
                    {"mask_token", "mask_token_id", "tokenizer.ggml.mask_token_id"}};
    bool add_bos = false, add_eos = false;
    for (size_t i = 0; i < sizeof specials / sizeof *specials; i++) {
        uint32_t id;
        if (!special_id(s, specials[i].token, specials[i].id, &id))
            continue;
        phy_gguf_key_u32(keys, specials[i].gguf, id);
        add_bos |= i == 0 && holds(&s->t->prefix, id);
        add_eos |= i == 1 && holds(&s->t->suffix, id);
    }
    phy_gguf_key_bool(keys, "tokenizer.ggml.add_bos_token", add_bos);
    phy_gguf_key_bool(keys, "tokenizer.ggml.add_eos_token", add_eos);
    phy_gguf_key_bool(keys, "tokenizer.ggml.add_space_prefix", s->add_space_prefix);
    const char *template = text_of(s->settings, "chat_template");
    if (*template)
        phy_gguf_key_text(keys, "tokenizer.chat_template", template, strlen(template));
}

/* ---- the whole ---- */

static enum phy_status read_tree(const struct speller *s, const char *name, cJSON **tree)
{
    char *text;
    size_t bytes;
    enum phy_status status = phy_export_sidecar(s->run, name, SMALL_FILE_BYTES, &text, &bytes);
    *tree = text ? cJSON_ParseWithLength(text, bytes) : NULL;
    if (status == PHY_OK && text && !*tree)
        status = phy_fail(s->run->host, PHY_ERR_FORMAT, "%s: not JSON", name);
    phy_free(text);
    return status;
}

/* A name that an import kept; not one that is a path on somebody's machine. */
static void put_name(const struct speller *s, struct phy_gguf_keys *keys)
{
    const char *name = text_of(s->config, "_model_name_or_path");
    if (*name && !strpbrk(name, "/\\"))
        phy_gguf_key_text(keys, "general.name", name, strlen(name));
}

static enum phy_status put_all(struct speller *s, struct phy_gguf_keys *keys)
{
    s->pieces = s->t->bpe.byte_fallback;
    enum phy_status status = s->pieces ? find_space_prefix(s) : find_pre_tokenizer(s);
    if (status != PHY_OK)
        return status;
    const char *model = s->pieces ? "llama" : "gpt2";
    phy_gguf_key_text(keys, "tokenizer.ggml.model", model, strlen(model));
    phy_gguf_key_text(keys, "tokenizer.ggml.pre", s->pre, strlen(s->pre));
    status = put_tokens(s, keys);
    if (status == PHY_OK)
        status = s->pieces ? put_scores(s, keys) : put_merges(s, keys);
    if (status == PHY_OK)
        put_specials(s, keys);
    return status;
}

enum phy_status phy_export_tokenizer(struct phy_export *run, struct phy_gguf_keys *keys)
{
    struct speller s = {.run = run};
    enum phy_status status = phy_export_sidecar(run, "tokenizer.json", TOKENIZER_BYTES_MAX, &s.text, &s.bytes);
    if (status != PHY_OK)
        return status;
    if (!s.text) {
        phy_warn(run->host, "%s: no tokenizer.json, so no tokenizer in the output", run->donor.label);
        phy_gguf_key_text(keys, "tokenizer.ggml.model", "none", strlen("none"));
        return PHY_OK;
    }
    status =
        phy_tokenizer_parse(&s.t, s.text, s.bytes, "tokenizer.json", &(struct phy_tokenizer_params){.host = run->host});
    if (status == PHY_OK)
        status = read_tree(&s, "tokenizer_config.json", &s.settings);
    if (status == PHY_OK)
        status = read_tree(&s, "config.json", &s.config);
    if (status == PHY_OK)
        put_name(&s, keys);
    if (status == PHY_OK)
        status = put_all(&s, keys);
    cJSON_Delete(s.settings);
    cJSON_Delete(s.config);
    phy_tokenizer_close(&s.t);
    phy_free(s.text);
    return status;
}
