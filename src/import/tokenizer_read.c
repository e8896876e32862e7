/* SPDX-License-Identifier: Apache-2.0 */
/* The tokenizer.* keys of a GGUF file, checked until nothing is left that could fail while it is written. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/log.h"
#include "import/tokenizer.h"

enum {
    STRINGS_BYTES_MAX = 64 << 20,
    TEMPLATE_BYTES_MAX = 16 << 20,
    PIECE_BYTES_MAX = 1024, /* every cut of a piece is looked up, so its length counts twice */
    NUMBERS_AT_ONCE = 1024
};

static const char tokens_key[] = "tokenizer.ggml.tokens";

bool phy_import_is_utf8(const char *text, size_t bytes)
{
    for (size_t i = 0; i < bytes;) {
        size_t length = phy_utf8_sequence(text + i, bytes - i, NULL);
        if (length == 0)
            return false;
        i += length;
    }
    return true;
}

void phy_import_tokenizer_free(struct import_tokenizer **tokenizer)
{
    struct import_tokenizer *t = *tokenizer;
    if (!t)
        return;
    phy_names_free(&t->vocabulary);
    phy_gguf_strings_free(&t->merges);
    phy_free(t->types);
    phy_free(t->scores);
    phy_free(t->chat_template);
    phy_free(t);
    *tokenizer = NULL;
}

size_t phy_import_token_count(const struct import_tokenizer *tokenizer)
{
    return tokenizer ? tokenizer->vocabulary.count : 0;
}

/* ---- ids of special tokens ---- */

static enum phy_status read_id(const struct import_model *model, const char *key, int64_t *out)
{
    uint64_t id = UINT32_MAX;
    size_t index;
    int64_t none;
    *out = -1;
    /* -1, also as 32 unsigned bits, is how writers say that there is none. */
    if (phy_import_find(model, key, &index) && phy_gguf_get_i64(model->gguf, index, &none) && none == -1)
        return PHY_OK;
    enum phy_status status = phy_import_u64(model, key, &id);
    if (status || id == UINT32_MAX)
        return status;
    if (id >= model->sizes[SIZE_VOCAB])
        return phy_gguf_fail_key(model->gguf, index, PHY_ERR_FORMAT, "there is no token %llu: the vocabulary has %llu",
                                 (unsigned long long)id, (unsigned long long)model->sizes[SIZE_VOCAB]);
    *out = (int64_t)id;
    return PHY_OK;
}

static enum phy_status read_ids(const struct import_model *model, struct import_token_ids *ids)
{
    const struct {
        const char *key;
        int64_t *to;
    } all[] = {{"tokenizer.ggml.bos_token_id", &ids->bos},      {"tokenizer.ggml.eos_token_id", &ids->eos},
               {"tokenizer.ggml.padding_token_id", &ids->pad},  {"tokenizer.ggml.unknown_token_id", &ids->unknown},
               {"tokenizer.ggml.eot_token_id", &ids->turn_end}, {"tokenizer.ggml.mask_token_id", &ids->mask}};
    enum phy_status status = PHY_OK;
    for (size_t i = 0; i < sizeof all / sizeof all[0] && !status; i++)
        status = read_id(model, all[i].key, all[i].to);
    return status;
}

/* ---- arrays beside the tokens ---- */

/* The array key with one element for each token; *found is false when the key is absent. */
static enum phy_status find_array(const struct import_model *model, const char *name, size_t tokens, size_t *index,
                                  bool *found)
{
    struct phy_gguf_key key;
    *found = phy_import_find(model, name, index);
    if (!*found)
        return PHY_OK;
    phy_gguf_key(model->gguf, *index, &key);
    if (key.type != PHY_GGUF_ARRAY || key.count != tokens)
        return phy_gguf_fail_key(model->gguf, *index, PHY_ERR_FORMAT, "%llu values for %zu tokens",
                                 (unsigned long long)key.count, tokens);
    return PHY_OK;
}

static enum phy_status read_types(struct import_tokenizer *t, size_t count)
{
    size_t index;
    bool found;
    t->types = phy_alloc(count, 1);
    if (!t->types)
        return phy_fail_memory(t->model->host, "token types", count);
    memset(t->types, TOKEN_NORMAL, count);
    enum phy_status status = find_array(t->model, "tokenizer.ggml.token_type", count, &index, &found);
    if (status || !found)
        return status;
    for (size_t done = 0; done < count;) {
        int64_t values[NUMBERS_AT_ONCE];
        size_t take = count - done < NUMBERS_AT_ONCE ? count - done : NUMBERS_AT_ONCE;
        status = phy_gguf_load_i64(t->model->gguf, index, done, take, values);
        if (status)
            return status;
        for (size_t i = 0; i < take; i++, done++) {
            if (values[i] < TOKEN_NORMAL || values[i] > TOKEN_BYTE)
                return phy_gguf_fail_key(t->model->gguf, index, PHY_ERR_UNSUPPORTED, "token %zu has type %lld", done,
                                         (long long)values[i]);
            t->types[done] = (uint8_t)values[i];
        }
    }
    return PHY_OK;
}

static enum phy_status read_scores(struct import_tokenizer *t)
{
    size_t index = 0, count = t->vocabulary.count;
    bool found;
    enum phy_status status = find_array(t->model, "tokenizer.ggml.scores", count, &index, &found);
    if (!status && !found)
        status = phy_import_missing(t->model, "tokenizer.ggml.scores");
    if (status)
        return status;
    t->scores = phy_alloc(count, sizeof *t->scores);
    if (!t->scores)
        return phy_fail_memory(t->model->host, "token scores", count * sizeof *t->scores);
    status = phy_gguf_load_f64(t->model->gguf, index, 0, count, t->scores);
    for (size_t i = 0; i < count && !status; i++) {
        if (isnan(t->scores[i]))
            status =
                phy_gguf_fail_key(t->model->gguf, index, PHY_ERR_FORMAT, "the score of token %zu is not a number", i);
    }
    return status;
}

/* ---- tokens ---- */

/* The token as tokenizer.json spells it, in `out` of at least 3 * bytes + 32 bytes. SentencePiece's user-defined tokens
 * hold real spaces in a GGUF file and U+2581 in tokenizer.json, where they are looked for after spaces have become
 * U+2581. Where a prefix is added to the text that cannot be done, and the raw text is searched for them. */
static size_t spell(const struct import_tokenizer *t, size_t id, const char *text, size_t bytes, char *out)
{
    if (bytes == 0) /* several empty tokens would be one */
        return (size_t)sprintf(out, "[EMPTY_%zu]", id);
    if (t->kind != TOKENIZER_PIECES || t->types[id] != TOKEN_USER_DEFINED || t->add_space_prefix) {
        memcpy(out, text, bytes);
        return bytes;
    }
    size_t used = 0;
    for (size_t i = 0; i < bytes; i++) {
        size_t piece = text[i] == ' ' ? strlen(SPACE_MARK) : 1;
        memcpy(out + used, text[i] == ' ' ? SPACE_MARK : text + i, piece);
        used += piece;
    }
    return used;
}

static enum phy_status add_token(struct import_tokenizer *t, size_t key, size_t id, const char *text, size_t bytes,
                                 char *spelling)
{
    const struct phy_gguf *gguf = t->model->gguf;
    size_t same;
    if (!phy_import_is_utf8(text, bytes))
        return phy_gguf_fail_key(gguf, key, PHY_ERR_UNSUPPORTED,
                                 "token %zu is not UTF-8: tokenizer.json cannot hold it", id);
    if (t->kind == TOKENIZER_PIECES && bytes > PIECE_BYTES_MAX)
        return phy_gguf_fail_key(gguf, key, PHY_ERR_LIMIT, "token %zu has %zu bytes, our limit is %d", id, bytes,
                                 PIECE_BYTES_MAX);
    size_t spelled = spell(t, id, text, bytes, spelling);
    switch (phy_names_add(&t->vocabulary, spelling, spelled, &same)) {
    case PHY_NAMES_ADDED:
        return PHY_OK;
    case PHY_NAMES_DUPLICATE:
        return phy_gguf_fail_key(gguf, key, PHY_ERR_UNSUPPORTED, "tokens %zu and %zu are the same text", same, id);
    default:
        return phy_fail_memory(t->model->host, "tokens", spelled);
    }
}

static enum phy_status read_tokens(struct import_tokenizer *t)
{
    size_t key, longest = 0, bytes;
    struct phy_gguf_strings tokens;
    if (!phy_import_find(t->model, tokens_key, &key))
        return phy_import_missing(t->model, tokens_key);
    enum phy_status status = phy_gguf_load_strings(t->model->gguf, key, STRINGS_BYTES_MAX, &tokens);
    if (!status && tokens.count == 0)
        status = phy_gguf_fail_key(t->model->gguf, key, PHY_ERR_FORMAT, "no tokens");
    if (!status)
        status = read_types(t, tokens.count);
    for (size_t i = 0; i < tokens.count; i++) {
        phy_gguf_string(&tokens, i, &bytes);
        longest = bytes > longest ? bytes : longest;
    }
    char *spelling = phy_alloc(3 * longest + 32, 1);
    if (!status && !spelling)
        status = phy_fail_memory(t->model->host, "a token", 3 * longest + 32);
    for (size_t i = 0; i < tokens.count && !status; i++) {
        const char *text = phy_gguf_string(&tokens, i, &bytes);
        status = add_token(t, key, i, text, bytes, spelling);
    }
    phy_free(spelling);
    phy_gguf_strings_free(&tokens);
    return status;
}

/* ---- byte-level BPE ---- */

/* Every merge must be of two tokens into a third: `tokenizers` refuses a file with any other. */
static enum phy_status read_merges(struct import_tokenizer *t)
{
    static const char merges_key[] = "tokenizer.ggml.merges";
    size_t key, bytes, id;
    char *joined = NULL;
    if (!phy_import_find(t->model, merges_key, &key))
        return phy_import_missing(t->model, merges_key);
    enum phy_status status = phy_gguf_load_strings(t->model->gguf, key, STRINGS_BYTES_MAX, &t->merges);
    if (status)
        return status;
    size_t longest = 0;
    for (size_t i = 0; i < t->merges.count; i++) {
        phy_gguf_string(&t->merges, i, &bytes);
        longest = bytes > longest ? bytes : longest;
    }
    joined = phy_alloc(longest + 1, 1);
    if (!joined)
        return phy_fail_memory(t->model->host, "a merge", longest);
    for (size_t i = 0; i < t->merges.count && !status; i++) {
        const char *text = phy_gguf_string(&t->merges, i, &bytes);
        const char *space = bytes > 1 ? memchr(text + 1, ' ', bytes - 1) : NULL;
        if (!space) {
            status = phy_gguf_fail_key(t->model->gguf, key, PHY_ERR_FORMAT, "merge %zu is not two tokens", i);
            break;
        }
        size_t left = (size_t)(space - text), right = bytes - left - 1;
        memcpy(joined, text, left);
        memcpy(joined + left, space + 1, right);
        if (!phy_names_find(&t->vocabulary, text, left, &id) ||
            !phy_names_find(&t->vocabulary, space + 1, right, &id) ||
            !phy_names_find(&t->vocabulary, joined, left + right, &id))
            status = phy_gguf_fail_key(t->model->gguf, key, PHY_ERR_UNSUPPORTED,
                                       "merge %zu is not of two tokens into a third: tokenizer.json cannot hold it", i);
    }
    phy_free(joined);
    return status;
}

static enum phy_status read_pre_tokenizer(struct import_tokenizer *t)
{
    char *name, quoted[PHY_QUOTED_BYTES];
    size_t bytes, index = 0;
    enum phy_status status = phy_import_text(t->model, "tokenizer.ggml.pre", 65536, &name, &bytes);
    if (status)
        return status;
    if (!name) {
        t->pre = phy_pre_tokenizer("default");
        phy_warn(t->model->host, "%s: key \"tokenizer.ggml.pre\" is missing: words are cut as for \"default\"",
                 phy_gguf_file(t->model->gguf));
        return PHY_OK;
    }
    t->pre = strlen(name) == bytes ? phy_pre_tokenizer(name) : NULL;
    if (!t->pre) {
        phy_import_find(t->model, "tokenizer.ggml.pre", &index);
        status = phy_gguf_fail_key(t->model->gguf, index, PHY_ERR_UNSUPPORTED, "pre-tokenizer %s is not known",
                                   phy_quote(quoted, name, bytes));
    }
    phy_free(name);
    return status;
}

/* ---- the whole ---- */

/* "gpt2", "llama", or none. */
static enum phy_status read_kind(const struct import_model *model, enum tokenizer_kind *kind, bool *found)
{
    static const char model_key[] = "tokenizer.ggml.model";
    char *name, quoted[PHY_QUOTED_BYTES];
    size_t bytes, index = 0;
    enum phy_status status = phy_import_text(model, model_key, 65536, &name, &bytes);
    if (status)
        return status;
    *found = name && strcmp(name, "none") != 0 && strcmp(name, "no_vocab") != 0;
    *kind = name && strcmp(name, "llama") == 0 ? TOKENIZER_PIECES : TOKENIZER_BYTES;
    if (*found && (strlen(name) != bytes || (strcmp(name, "llama") != 0 && strcmp(name, "gpt2") != 0))) {
        phy_import_find(model, model_key, &index);
        status = phy_gguf_fail_key(model->gguf, index, PHY_ERR_UNSUPPORTED, "tokenizer %s is not one of gpt2, llama",
                                   phy_quote(quoted, name, bytes));
    }
    phy_free(name);
    return status;
}

static enum phy_status refuse_normalizers(const struct import_model *model)
{
    size_t index;
    bool removes = false;
    if (phy_import_find(model, "tokenizer.ggml.precompiled_charsmap", &index))
        return phy_gguf_fail_key(model->gguf, index, PHY_ERR_UNSUPPORTED,
                                 "a SentencePiece normalizer is not supported");
    enum phy_status status = phy_import_bool(model, "tokenizer.ggml.remove_extra_whitespaces", &removes);
    if (!status && removes && phy_import_find(model, "tokenizer.ggml.remove_extra_whitespaces", &index))
        return phy_gguf_fail_key(model->gguf, index, PHY_ERR_UNSUPPORTED, "removing white space is not supported");
    return status;
}

static enum phy_status read_flags(struct import_tokenizer *t, const struct import_token_ids *ids)
{
    static const char bos_key[] = "tokenizer.ggml.add_bos_token", eos_key[] = "tokenizer.ggml.add_eos_token";
    size_t index;
    t->add_bos = ids->bos >= 0 && (t->kind == TOKENIZER_PIECES || t->pre->add_bos);
    enum phy_status status = phy_import_bool(t->model, bos_key, &t->add_bos);
    if (!status)
        status = phy_import_bool(t->model, eos_key, &t->add_eos);
    if (status)
        return status;
    if (t->add_bos && ids->bos < 0 && phy_import_find(t->model, bos_key, &index))
        return phy_gguf_fail_key(t->model->gguf, index, PHY_ERR_FORMAT, "true, but there is no bos_token_id");
    if (t->add_eos && ids->eos < 0 && phy_import_find(t->model, eos_key, &index))
        return phy_gguf_fail_key(t->model->gguf, index, PHY_ERR_FORMAT, "true, but there is no eos_token_id");
    t->bos = ids->bos;
    t->eos = ids->eos;
    t->unknown = ids->unknown;
    for (size_t id = 0; t->unknown < 0 && id < t->vocabulary.count; id++) {
        if (t->types[id] == TOKEN_UNKNOWN)
            t->unknown = (int64_t)id;
    }
    return PHY_OK;
}

static enum phy_status read_template(struct import_tokenizer *t)
{
    static const char template_key[] = "tokenizer.chat_template";
    size_t index;
    enum phy_status status =
        phy_import_text(t->model, template_key, TEMPLATE_BYTES_MAX, &t->chat_template, &t->chat_template_bytes);
    if (status || !t->chat_template || phy_import_is_utf8(t->chat_template, t->chat_template_bytes))
        return status;
    phy_import_find(t->model, template_key, &index);
    return phy_gguf_fail_key(t->model->gguf, index, PHY_ERR_UNSUPPORTED,
                             "not UTF-8: tokenizer_config.json cannot hold it");
}

static enum phy_status read_all(struct import_tokenizer *t, const struct import_token_ids *ids)
{
    t->add_space_prefix = t->kind == TOKENIZER_PIECES;
    enum phy_status status = phy_import_bool(t->model, "tokenizer.ggml.add_space_prefix", &t->add_space_prefix);
    if (!status && t->kind == TOKENIZER_BYTES && t->add_space_prefix) {
        size_t index = 0;
        phy_import_find(t->model, "tokenizer.ggml.add_space_prefix", &index);
        status = phy_gguf_fail_key(t->model->gguf, index, PHY_ERR_UNSUPPORTED, "a prefix before byte-level text");
    }
    if (!status)
        status = refuse_normalizers(t->model);
    if (!status && t->kind == TOKENIZER_BYTES)
        status = read_pre_tokenizer(t);
    if (!status)
        status = read_tokens(t);
    if (!status)
        status = t->kind == TOKENIZER_BYTES ? read_merges(t) : read_scores(t);
    if (!status)
        status = read_flags(t, ids);
    return status ? status : read_template(t);
}

enum phy_status phy_import_tokenizer_read(struct import_tokenizer **out, const struct import_model *model,
                                          struct import_token_ids *ids)
{
    enum tokenizer_kind kind;
    bool found;
    *out = NULL;
    enum phy_status status = read_ids(model, ids);
    if (!status)
        status = read_kind(model, &kind, &found);
    if (status)
        return status;
    if (!found) {
        phy_warn(model->host, "%s: no tokenizer in the file, so no tokenizer.json", phy_gguf_file(model->gguf));
        return PHY_OK;
    }
    struct import_tokenizer *t = phy_zalloc(1, sizeof *t);
    if (!t)
        return phy_fail_memory(model->host, "a tokenizer", sizeof *t);
    t->model = model;
    t->kind = kind;
    status = read_all(t, ids);
    if (status)
        phy_import_tokenizer_free(&t);
    *out = t;
    return status;
}
