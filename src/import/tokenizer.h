/* SPDX-License-Identifier: Apache-2.0 */
/* A GGUF tokenizer as it was understood. Private to tokenizer_*.c. */
#ifndef PHY_IMPORT_TOKENIZER_H
#define PHY_IMPORT_TOKENIZER_H

#include "base/json_write.h"
#include "format/names.h"
#include "import/import_files.h"

/* tokenizer.ggml.token_type */
enum token_type {
    TOKEN_NORMAL = 1,
    TOKEN_UNKNOWN = 2,
    TOKEN_CONTROL = 3,
    TOKEN_USER_DEFINED = 4, /* matched whole in the text, before anything else */
    TOKEN_UNUSED = 5,       /* never produced: padding of the vocabulary */
    TOKEN_BYTE = 6
};

/* How text is cut into words before the merges, by tokenizer.ggml.pre. Each pattern isolates its matches in what the
 * one before it left; then bytes become characters. */
struct pre_tokenizer {
    const char *name;
    const char *patterns[4]; /* NULL ends */
    bool digits;             /* first every digit by itself */
    bool gpt2;               /* GPT-2's own pattern */
    bool nfc;                /* text is normalised first */
    bool ignore_merges;      /* a word that is a token is taken whole */
    bool add_bos;            /* unless the file says otherwise */
};
/* NULL for an unknown name. */
const struct pre_tokenizer *phy_pre_tokenizer(const char *name);

enum tokenizer_kind {
    TOKENIZER_BYTES, /* "gpt2": byte-level BPE with a list of merges */
    TOKENIZER_PIECES /* "llama": SentencePiece BPE with scores and byte fallback */
};

struct import_tokenizer {
    const struct import_model *model;
    enum tokenizer_kind kind;
    struct phy_names vocabulary;    /* index = id; as tokenizer.json spells them */
    uint8_t *types;                 /* (vocabulary.count) enum token_type */
    double *scores;                 /* (vocabulary.count) TOKENIZER_PIECES */
    struct phy_gguf_strings merges; /* "left right", TOKENIZER_BYTES */
    const struct pre_tokenizer *pre;
    bool add_bos, add_eos, add_space_prefix;
    int64_t bos, eos, unknown;
    char *chat_template;
    size_t chat_template_bytes;
};

/* U+2581, which stands for a space. */
#define SPACE_MARK "\xE2\x96\x81"

bool phy_import_is_utf8(const char *text, size_t bytes);
/* The merges of a SentencePiece vocabulary: every way to put a token together from two others, best score first. Calls
 * `emit` for each; false when memory ran out. */
bool phy_import_piece_merges(const struct import_tokenizer *tokenizer,
                             void (*emit)(void *user, size_t left, size_t right), void *user);

#endif
