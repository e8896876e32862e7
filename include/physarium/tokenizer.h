/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PHYSARIUM_TOKENIZER_H
#define PHYSARIUM_TOKENIZER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "host.h"
#include "status.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A loaded tokenizer.json: byte-level BPE (GPT-2, Llama 3, Qwen, SmolLM) or BPE in the manner of SentencePiece with
 * byte fallback (Llama 2, Mistral, Gemma). docs/tokenizers.md lists what is supported; the rest is refused by its name.
 */
struct phy_tokenizer;

struct phy_tokenizer_params {
    const struct phy_host *host; /* may be NULL; must outlive the tokenizer */
};

/* Load `path`, a tokenizer.json or a directory that holds one. params may be NULL.
 * On success *out is the caller's: phy_tokenizer_close(&t). *out is NULL on failure.
 *
 *   PHY_ERR_IO           the file is absent or unreadable
 *   PHY_ERR_FORMAT       not JSON, or it contradicts itself
 *   PHY_ERR_UNSUPPORTED  a component that is not supported; the log names it
 *   PHY_ERR_LIMIT        too many components, or longer than 1 GiB
 *   PHY_ERR_MEMORY       host allocation failed; what is taken is at most a small multiple of the file
 *
 * Thread-safety: a loaded tokenizer is only read: any number of threads may use it at a time. */
PHY_API enum phy_status phy_tokenizer_open(struct phy_tokenizer **out, const char *path,
                                           const struct phy_tokenizer_params *params);
/* The same from memory: `json` is copied; `name` stands for the file in messages. */
PHY_API enum phy_status phy_tokenizer_parse(struct phy_tokenizer **out, const char *json, size_t bytes,
                                            const char *name, const struct phy_tokenizer_params *params);
/* Close and set to NULL; accepts a pointer to NULL. */
PHY_API void phy_tokenizer_close(struct phy_tokenizer **tokenizer);

/* ---- the vocabulary, added tokens included ---- */

/* Largest id + 1. Ids below it may be free. */
PHY_API uint32_t phy_tokenizer_id_limit(const struct phy_tokenizer *tokenizer);
/* How the vocabulary spells a token (letters for bytes, U+2581 for a space), UTF-8, not NUL-terminated; NULL when no
 * token has the id. Valid until the tokenizer is closed. */
PHY_API const char *phy_tokenizer_piece(const struct phy_tokenizer *tokenizer, uint32_t id, size_t *bytes);
/* The id of the token that is spelled so. False: there is none. */
PHY_API bool phy_tokenizer_find(const struct phy_tokenizer *tokenizer, const char *piece, size_t bytes, uint32_t *id);
/* The token is left out by decoding with skip_special. */
PHY_API bool phy_tokenizer_is_special(const struct phy_tokenizer *tokenizer, uint32_t id);

/* ---- text to ids ---- */

struct phy_encode_params {
    bool no_special;      /* leave out what the template adds, such as <bos> */
    bool special_as_text; /* a special token that is written in the text is text like any other */
    const char *name;     /* of the text, such as its file's, for messages; NULL: "the text" */
};

struct phy_id_list {
    uint32_t *ids;
    size_t count;
};

/* The ids of a text, UTF-8; params may be NULL. phy_id_list_free(out) when done.
 *   PHY_ERR_FORMAT       the text is not UTF-8 (the log says where)
 *   PHY_ERR_LIMIT        the text is longer than 1 GiB, or the tokenizer's pattern does not come to an end on it
 *   PHY_ERR_MEMORY       host allocation failed
 *   PHY_ERR_INTERRUPTED  the host asked to stop */
PHY_API enum phy_status phy_tokenizer_encode(const struct phy_tokenizer *tokenizer, const char *text, size_t bytes,
                                             const struct phy_encode_params *params, struct phy_id_list *out);
PHY_API void phy_id_list_free(struct phy_id_list *list);

/* ---- ids to text ---- */

struct phy_decode_params {
    bool skip_special; /* leave out special tokens */
    bool raw_bytes;    /* the tokens' bytes as they are, which need not be UTF-8; else U+FFFD stands for what is not */
};

struct phy_decoded {
    char *text; /* NUL-terminated */
    size_t bytes;
};

/* The text of ids; those that no token has give nothing. params may be NULL. phy_decoded_free(out) when done.
 * With raw_bytes a longer list of ids only ever adds to the end, unless a decoder fuses or strips the end.
 *   PHY_ERR_MEMORY  host allocation failed */
PHY_API enum phy_status phy_tokenizer_decode(const struct phy_tokenizer *tokenizer, const uint32_t *ids, size_t count,
                                             const struct phy_decode_params *params, struct phy_decoded *out);
PHY_API void phy_decoded_free(struct phy_decoded *decoded);

#ifdef __cplusplus
}
#endif
#endif
