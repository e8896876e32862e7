/* SPDX-License-Identifier: Apache-2.0 */
/* tokenizer.json, streamed: with a quarter of a million tokens and half a million merges a tree would be the largest
 * thing in memory. And tokenizer_config.json. */
#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "import/tokenizer.h"

static void put_token(struct phy_json_writer *json, const struct import_tokenizer *t, size_t id)
{
    size_t bytes;
    const char *text = phy_names_at(&t->vocabulary, id, &bytes);
    phy_jsonw_string(json, text, bytes);
}

static void put_member_token(struct phy_json_writer *json, const char *name, const struct import_tokenizer *t,
                             int64_t id)
{
    if (id < 0)
        return;
    phy_jsonw_key(json, name, strlen(name));
    put_token(json, t, (size_t)id);
}

/* ---- added tokens: matched whole in the text ---- */

/* Looked for after spaces have become U+2581, because it holds some. */
static bool is_matched_after_normalizing(const struct import_tokenizer *t, size_t id)
{
    return t->kind == TOKENIZER_PIECES && t->types[id] == TOKEN_USER_DEFINED && !t->add_space_prefix &&
           strstr(phy_names_at(&t->vocabulary, id, NULL), SPACE_MARK);
}

static void put_added_tokens(struct phy_json_writer *json, const struct import_tokenizer *t)
{
    phy_jsonw_member_open(json, "added_tokens", '[');
    for (size_t id = 0; id < t->vocabulary.count; id++) {
        enum token_type type = (enum token_type)t->types[id];
        if (type != TOKEN_UNKNOWN && type != TOKEN_CONTROL && type != TOKEN_USER_DEFINED)
            continue;
        phy_jsonw_open(json, '{');
        phy_jsonw_key(json, "id", 2);
        phy_jsonw_u64(json, id);
        phy_jsonw_key(json, "content", 7);
        put_token(json, t, id);
        phy_jsonw_member_bool(json, "single_word", false);
        phy_jsonw_member_bool(json, "lstrip", false);
        phy_jsonw_member_bool(json, "rstrip", false);
        phy_jsonw_member_bool(json, "normalized", is_matched_after_normalizing(t, id));
        phy_jsonw_member_bool(json, "special", type != TOKEN_USER_DEFINED);
        phy_jsonw_close(json, '}');
    }
    phy_jsonw_close(json, ']');
}

/* ---- normalizer, pre-tokenizer, decoder ---- */

static void put_replace(struct phy_json_writer *json, const char *from, const char *to)
{
    phy_jsonw_open(json, '{');
    phy_jsonw_member_text(json, "type", "Replace");
    phy_jsonw_member_open(json, "pattern", '{');
    phy_jsonw_member_text(json, "String", from);
    phy_jsonw_close(json, '}');
    phy_jsonw_member_text(json, "content", to);
    phy_jsonw_close(json, '}');
}

static void put_type_only(struct phy_json_writer *json, const char *type)
{
    phy_jsonw_open(json, '{');
    phy_jsonw_member_text(json, "type", type);
    phy_jsonw_close(json, '}');
}

static void put_normalizer(struct phy_json_writer *json, const struct import_tokenizer *t)
{
    phy_jsonw_key(json, "normalizer", strlen("normalizer"));
    if (t->kind == TOKENIZER_BYTES && t->pre->nfc) {
        put_type_only(json, "NFC");
    } else if (t->kind == TOKENIZER_BYTES) {
        phy_jsonw_raw(json, "null");
    } else if (!t->add_space_prefix) {
        put_replace(json, " ", SPACE_MARK);
    } else {
        phy_jsonw_open(json, '{');
        phy_jsonw_member_text(json, "type", "Sequence");
        phy_jsonw_member_open(json, "normalizers", '[');
        phy_jsonw_open(json, '{');
        phy_jsonw_member_text(json, "type", "Prepend");
        phy_jsonw_member_text(json, "prepend", SPACE_MARK);
        phy_jsonw_close(json, '}');
        put_replace(json, " ", SPACE_MARK);
        phy_jsonw_close(json, ']');
        phy_jsonw_close(json, '}');
    }
}

static void put_byte_level(struct phy_json_writer *json, bool prefix, bool regex)
{
    phy_jsonw_open(json, '{');
    phy_jsonw_member_text(json, "type", "ByteLevel");
    phy_jsonw_member_bool(json, "add_prefix_space", prefix);
    phy_jsonw_member_bool(json, "trim_offsets", true);
    phy_jsonw_member_bool(json, "use_regex", regex);
    phy_jsonw_close(json, '}');
}

static void put_pre_tokenizer(struct phy_json_writer *json, const struct import_tokenizer *t)
{
    phy_jsonw_key(json, "pre_tokenizer", strlen("pre_tokenizer"));
    if (t->kind == TOKENIZER_PIECES) {
        phy_jsonw_raw(json, "null");
        return;
    }
    phy_jsonw_open(json, '{');
    phy_jsonw_member_text(json, "type", "Sequence");
    phy_jsonw_member_open(json, "pretokenizers", '[');
    if (t->pre->digits) {
        phy_jsonw_open(json, '{');
        phy_jsonw_member_text(json, "type", "Digits");
        phy_jsonw_member_bool(json, "individual_digits", true);
        phy_jsonw_close(json, '}');
    }
    for (size_t i = 0; i < 4 && t->pre->patterns[i]; i++) {
        phy_jsonw_open(json, '{');
        phy_jsonw_member_text(json, "type", "Split");
        phy_jsonw_member_open(json, "pattern", '{');
        phy_jsonw_member_text(json, "Regex", t->pre->patterns[i]);
        phy_jsonw_close(json, '}');
        phy_jsonw_member_text(json, "behavior", "Isolated");
        phy_jsonw_member_bool(json, "invert", false);
        phy_jsonw_close(json, '}');
    }
    put_byte_level(json, false, t->pre->gpt2);
    phy_jsonw_close(json, ']');
    phy_jsonw_close(json, '}');
}

static void put_decoder(struct phy_json_writer *json, const struct import_tokenizer *t)
{
    phy_jsonw_key(json, "decoder", strlen("decoder"));
    if (t->kind == TOKENIZER_BYTES) {
        put_byte_level(json, true, true);
        return;
    }
    phy_jsonw_open(json, '{');
    phy_jsonw_member_text(json, "type", "Sequence");
    phy_jsonw_member_open(json, "decoders", '[');
    put_replace(json, SPACE_MARK, " ");
    put_type_only(json, "ByteFallback");
    put_type_only(json, "Fuse");
    if (t->add_space_prefix) {
        phy_jsonw_open(json, '{');
        phy_jsonw_member_text(json, "type", "Strip");
        phy_jsonw_member_text(json, "content", " ");
        phy_jsonw_member_raw(json, "start", "1");
        phy_jsonw_member_raw(json, "stop", "0");
        phy_jsonw_close(json, '}');
    }
    phy_jsonw_close(json, ']');
    phy_jsonw_close(json, '}');
}

/* ---- the template: begin and end of text ---- */

static void put_template_token(struct phy_json_writer *json, const struct import_tokenizer *t, int64_t id,
                               const char *type_id)
{
    phy_jsonw_open(json, '{');
    phy_jsonw_member_open(json, "SpecialToken", '{');
    put_member_token(json, "id", t, id);
    phy_jsonw_member_raw(json, "type_id", type_id);
    phy_jsonw_close(json, '}');
    phy_jsonw_close(json, '}');
}

static void put_template_sequence(struct phy_json_writer *json, const struct import_tokenizer *t, const char *name,
                                  const char *type_id)
{
    if (t->add_bos)
        put_template_token(json, t, t->bos, type_id);
    phy_jsonw_open(json, '{');
    phy_jsonw_member_open(json, "Sequence", '{');
    phy_jsonw_member_text(json, "id", name);
    phy_jsonw_member_raw(json, "type_id", type_id);
    phy_jsonw_close(json, '}');
    phy_jsonw_close(json, '}');
    if (t->add_eos)
        put_template_token(json, t, t->eos, type_id);
}

static void put_template_definition(struct phy_json_writer *json, const struct import_tokenizer *t, int64_t id)
{
    size_t bytes;
    const char *text = phy_names_at(&t->vocabulary, (size_t)id, &bytes);
    phy_jsonw_key(json, text, bytes);
    phy_jsonw_open(json, '{');
    put_member_token(json, "id", t, id);
    phy_jsonw_member_open(json, "ids", '[');
    phy_jsonw_u64(json, (uint64_t)id);
    phy_jsonw_close(json, ']');
    phy_jsonw_member_open(json, "tokens", '[');
    put_token(json, t, (size_t)id);
    phy_jsonw_close(json, ']');
    phy_jsonw_close(json, '}');
}

static void put_post_processor(struct phy_json_writer *json, const struct import_tokenizer *t)
{
    phy_jsonw_key(json, "post_processor", strlen("post_processor"));
    if (!t->add_bos && !t->add_eos) {
        phy_jsonw_raw(json, "null");
        return;
    }
    phy_jsonw_open(json, '{');
    phy_jsonw_member_text(json, "type", "TemplateProcessing");
    phy_jsonw_member_open(json, "single", '[');
    put_template_sequence(json, t, "A", "0");
    phy_jsonw_close(json, ']');
    phy_jsonw_member_open(json, "pair", '[');
    put_template_sequence(json, t, "A", "0");
    put_template_sequence(json, t, "B", "1");
    phy_jsonw_close(json, ']');
    phy_jsonw_member_open(json, "special_tokens", '{');
    if (t->add_bos)
        put_template_definition(json, t, t->bos);
    if (t->add_eos && (!t->add_bos || t->eos != t->bos))
        put_template_definition(json, t, t->eos);
    phy_jsonw_close(json, '}');
    phy_jsonw_close(json, '}');
}

/* ---- the model ---- */

struct merge_writer {
    struct phy_json_writer *json;
    const struct import_tokenizer *tokenizer;
};

static void put_piece_merge(void *user, size_t left, size_t right)
{
    const struct merge_writer *w = user;
    phy_jsonw_open(w->json, '[');
    put_token(w->json, w->tokenizer, left);
    put_token(w->json, w->tokenizer, right);
    phy_jsonw_close(w->json, ']');
}

static void put_listed_merges(struct phy_json_writer *json, const struct import_tokenizer *t)
{
    for (size_t i = 0; i < t->merges.count; i++) {
        size_t bytes;
        const char *text = phy_gguf_string(&t->merges, i, &bytes);
        const char *space = memchr(text + 1, ' ', bytes - 1);
        size_t left = (size_t)(space - text);
        phy_jsonw_open(json, '[');
        phy_jsonw_string(json, text, left);
        phy_jsonw_string(json, space + 1, bytes - left - 1);
        phy_jsonw_close(json, ']');
    }
}

/* Returns false when memory ran out. */
static bool put_model(struct phy_json_writer *json, const struct import_tokenizer *t)
{
    bool pieces = t->kind == TOKENIZER_PIECES, complete = true;
    phy_jsonw_member_open(json, "model", '{');
    phy_jsonw_member_text(json, "type", "BPE");
    phy_jsonw_member_raw(json, "dropout", "null");
    if (pieces && t->unknown >= 0)
        put_member_token(json, "unk_token", t, t->unknown);
    else
        phy_jsonw_member_raw(json, "unk_token", "null");
    phy_jsonw_member_raw(json, "continuing_subword_prefix", "null");
    phy_jsonw_member_raw(json, "end_of_word_suffix", "null");
    phy_jsonw_member_bool(json, "fuse_unk", pieces);
    phy_jsonw_member_bool(json, "byte_fallback", pieces);
    phy_jsonw_member_bool(json, "ignore_merges", !pieces && t->pre->ignore_merges);
    phy_jsonw_member_open(json, "vocab", '{');
    for (size_t id = 0; id < t->vocabulary.count; id++) {
        size_t bytes;
        const char *text = phy_names_at(&t->vocabulary, id, &bytes);
        phy_jsonw_key(json, text, bytes);
        phy_jsonw_u64(json, id);
    }
    phy_jsonw_close(json, '}');
    phy_jsonw_member_open(json, "merges", '[');
    if (pieces)
        complete = phy_import_piece_merges(t, put_piece_merge, &(struct merge_writer){json, t});
    else
        put_listed_merges(json, t);
    phy_jsonw_close(json, ']');
    phy_jsonw_close(json, '}');
    return complete;
}

int phy_import_write_tokenizer(const struct import_tokenizer *tokenizer, int fd)
{
    struct phy_json_writer *json = phy_alloc(1, sizeof *json);
    if (!json)
        return ENOMEM;
    phy_jsonw_start(json, fd, false);
    phy_jsonw_open(json, '{');
    phy_jsonw_member_text(json, "version", "1.0");
    phy_jsonw_member_raw(json, "truncation", "null");
    phy_jsonw_member_raw(json, "padding", "null");
    put_added_tokens(json, tokenizer);
    put_normalizer(json, tokenizer);
    put_pre_tokenizer(json, tokenizer);
    put_post_processor(json, tokenizer);
    put_decoder(json, tokenizer);
    bool complete = put_model(json, tokenizer);
    phy_jsonw_close(json, '}');
    int error = phy_jsonw_finish(json);
    phy_free(json);
    return error ? error : complete ? 0 : ENOMEM;
}

int phy_import_write_tokenizer_config(const struct import_tokenizer *tokenizer, const struct import_token_ids *ids,
                                      int fd)
{
    struct phy_json_writer *json = phy_alloc(1, sizeof *json);
    if (!json)
        return ENOMEM;
    phy_jsonw_start(json, fd, true);
    phy_jsonw_open(json, '{');
    phy_jsonw_member_bool(json, "add_bos_token", tokenizer->add_bos);
    phy_jsonw_member_bool(json, "add_eos_token", tokenizer->add_eos);
    put_member_token(json, "bos_token", tokenizer, ids->bos);
    if (tokenizer->chat_template) {
        phy_jsonw_key(json, "chat_template", strlen("chat_template"));
        phy_jsonw_string(json, tokenizer->chat_template, tokenizer->chat_template_bytes);
    }
    phy_jsonw_member_bool(json, "clean_up_tokenization_spaces", false);
    put_member_token(json, "eos_token", tokenizer, ids->eos);
    put_member_token(json, "mask_token", tokenizer, ids->mask);
    /* "No limit", in the spelling that loaders know: the float 1e30 as an integer. */
    phy_jsonw_member_raw(json, "model_max_length", "1000000000000000019884624838656");
    put_member_token(json, "pad_token", tokenizer, ids->pad);
    /* Loads tokenizer.json as it is; a class of a model's own would rebuild it from its parts. */
    phy_jsonw_member_text(json, "tokenizer_class", "PreTrainedTokenizerFast");
    put_member_token(json, "unk_token", tokenizer, ids->unknown);
    phy_jsonw_close(json, '}');
    int error = phy_jsonw_finish(json);
    phy_free(json);
    return error;
}
