/* SPDX-License-Identifier: Apache-2.0 */
/* A loaded tokenizer: the steps of its pipeline, in the order of the work. */
#ifndef PHY_MODEL_TOKENIZER_PARTS_H
#define PHY_MODEL_TOKENIZER_PARTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "model/tokenizer_bpe.h"
#include "model/tokenizer_regex.h"
#include "model/tokenizer_text.h"
#include "physarium/tokenizer.h"

/* Steps of one kind, nested Sequences laid out flat. */
enum { PHY_STEPS_MAX = 64 };
/* Longest text that is encoded at once; positions are 32-bit. */
enum { PHY_TEXT_BYTES_MAX = 1 << 30 };

/* What Split and Replace look for: a regular expression, or a text that is not empty. */
struct phy_pattern {
    struct phy_regex *regex; /* or NULL */
    char *text;              /* when there is no regex */
    size_t bytes;
};

enum phy_normalizer_kind {
    PHY_NORMALIZER_NFC,
    PHY_NORMALIZER_NFD,
    PHY_NORMALIZER_NFKC,
    PHY_NORMALIZER_NFKD,
    PHY_NORMALIZER_LOWERCASE,
    PHY_NORMALIZER_STRIP,
    PHY_NORMALIZER_PREPEND,
    PHY_NORMALIZER_REPLACE,
};

struct phy_normalizer {
    enum phy_normalizer_kind kind;
    struct phy_pattern pattern; /* Replace */
    char *content;              /* Replace, Prepend */
    size_t content_bytes;
    bool left, right; /* Strip */
};

enum phy_split_behavior {
    PHY_SPLIT_REMOVED,
    PHY_SPLIT_ISOLATED,
    PHY_SPLIT_MERGED_WITH_PREVIOUS,
    PHY_SPLIT_MERGED_WITH_NEXT,
    PHY_SPLIT_CONTIGUOUS,
};

enum phy_prepend_scheme { PHY_PREPEND_ALWAYS, PHY_PREPEND_FIRST, PHY_PREPEND_NEVER };

enum phy_splitter_kind {
    PHY_SPLITTER_SPLIT,
    PHY_SPLITTER_DIGITS,
    PHY_SPLITTER_BYTE_LEVEL, /* the prefix space and the regular expression */
    PHY_SPLITTER_LETTERS,    /* follows it: bytes become letters */
    PHY_SPLITTER_METASPACE,
};

/* A pre-tokenizer; ByteLevel makes two. */
struct phy_splitter {
    enum phy_splitter_kind kind;
    struct phy_pattern pattern; /* Split; ByteLevel with use_regex */
    enum phy_split_behavior behavior;
    bool invert;           /* Split */
    bool add_prefix_space; /* ByteLevel */
    bool split;            /* Metaspace */
    enum phy_prepend_scheme prepend;
    char replacement[4]; /* Metaspace: a character */
    size_t replacement_bytes;
};

enum phy_decoder_kind {
    PHY_DECODER_BYTE_LEVEL,
    PHY_DECODER_REPLACE,
    PHY_DECODER_BYTE_FALLBACK,
    PHY_DECODER_FUSE,
    PHY_DECODER_STRIP,
    PHY_DECODER_METASPACE,
};

struct phy_decoder {
    enum phy_decoder_kind kind;
    char *pattern, *content; /* Replace: texts */
    size_t pattern_bytes, content_bytes;
    char character[4]; /* Strip, Metaspace */
    size_t character_bytes;
    uint64_t start, stop; /* Strip: how many at most */
    enum phy_prepend_scheme prepend;
};

/* A token that is matched in the text before everything else. */
struct phy_added_token {
    uint32_t id;
    bool single_word, lstrip, rstrip, normalized, special;
    char *content;
    size_t bytes;
    char *normal; /* what the normalizers make of it, if it is `normalized` and they change it; or NULL */
    size_t normal_bytes;
};

/* Aho-Corasick over the reversed texts of some added tokens: read from right to left, a text shows at each position the
 * longest token that begins there, in linear time whatever the tokens. */
struct phy_matcher {
    struct phy_pair_map children; /* (node, byte) -> node; node 0 is the root */
    uint32_t *fail, *token; /* (node_count) longest proper suffix; longest token that ends there, or PHY_NO_TOKEN */
    size_t node_count, node_capacity;
    uint32_t root[256]; /* the root's children, or 0 */
};

struct phy_tokenizer {
    const struct phy_host *host;
    char *name; /* of the file, for messages */
    struct phy_bpe bpe;
    struct phy_normalizer *normalizers;
    struct phy_splitter *splitters;
    struct phy_decoder *decoders;
    size_t normalizer_count, splitter_count, decoder_count;
    size_t normalizer_capacity, splitter_capacity, decoder_capacity;
    bool has_decoder;
    struct phy_ids prefix, suffix; /* of the template */
    struct phy_added_token *added;
    size_t added_count, added_capacity;
    struct phy_name_set added_by_content; /* content -> index */
    struct phy_pair_map added_by_id;      /* (0, id) -> index */
    struct phy_name_set special_contents;
    struct phy_matcher raw, normal; /* tokens matched before and after the normalizers */
    uint32_t id_limit;
};

/* Fill in `normal` of the added tokens. */
enum phy_status phy_tokenizer_normalize_added(struct phy_tokenizer *tokenizer);

void phy_tokenizer_free_parts(struct phy_tokenizer *tokenizer);

/* Everything that one encoding needs for itself. */
struct phy_encode_work {
    const struct phy_tokenizer *tokenizer;
    struct phy_regex_work regex;
    struct phy_bpe_work bpe;
    struct phy_octets normal[2];
    uint64_t normal_left;      /* bytes that the normalizers may still put out: a file cannot blow up a short text */
    struct phy_ids codes;      /* of a run that is being normalised */
    struct phy_octets *pieces; /* (splitter_count) what each splitter made of its piece */
    struct phy_ids *out;
};

/* ---- patterns ---- */

/* Walks over the matches in a text, without those that are empty right behind another. */
struct phy_match_walk {
    const struct phy_pattern *pattern;
    struct phy_regex_work *work;
    const char *text;
    size_t bytes, at, last_end;
    bool any;
};

enum phy_status phy_next_match(struct phy_match_walk *walk, bool *found, size_t *begin, size_t *end);

/* ---- the steps ---- */

/* All normalizers over a text that is not empty; *out lives in the work (or is the text) until the next call. *at_start
 * stays true while the first byte is still the one that the text began with. */
enum phy_status phy_normalize(struct phy_encode_work *work, const char *text, size_t bytes, const char **out,
                              size_t *out_bytes, bool *at_start);

/* The pre-tokenizers from `step` on, then the model. at_start: the piece begins where the whole text does. */
enum phy_status phy_split(struct phy_encode_work *work, size_t step, const char *text, size_t bytes, bool at_start);

/* Build the matchers of all added tokens, whose `normal` is filled in. */
enum phy_status phy_added_finish(struct phy_tokenizer *tokenizer);
void phy_matcher_free(struct phy_matcher *matcher);

/* A stretch of a text: an added token, or what is between them (token PHY_NO_TOKEN). */
struct phy_stretch {
    size_t begin, end;
    uint32_t token; /* index in `added` */
};

struct phy_stretches {
    struct phy_stretch *items;
    size_t count, capacity;
};

/* Cut a text that is not empty at the tokens of a matcher. False: no memory. */
bool phy_find_added(const struct phy_tokenizer *tokenizer, const struct phy_matcher *matcher, const char *text,
                    size_t bytes, bool special_as_text, struct phy_stretches *out);

/* The letter that stands for a byte, and the byte for a letter, or -1. */
uint32_t phy_byte_letter(unsigned char byte);
int phy_letter_byte(uint32_t code);

/* Decoding any later part of a list gives the same text, but for what is stripped before its first character that
 * stays: no step looks across strings, once it has joined them, at more than the beginning. */
bool phy_tokenizer_decodes_by_parts(const struct phy_tokenizer *tokenizer);

#endif
