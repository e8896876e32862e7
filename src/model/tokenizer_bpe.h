/* SPDX-License-Identifier: Apache-2.0 */
/* The vocabulary and the merges: a piece of text to ids. */
#ifndef PHY_MODEL_TOKENIZER_BPE_H
#define PHY_MODEL_TOKENIZER_BPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "format/name_set.h"
#include "model/pair_map.h"
#include "model/tokenizer_text.h"
#include "physarium/host.h"

enum { PHY_NO_TOKEN = UINT32_MAX };
/* Largest id of a tokenizer: what a signed 32-bit integer holds, as in every runner of models. */
enum { PHY_TOKEN_ID_MAX = INT32_MAX };
/* Characters below this have their symbol in a table: ASCII, Latin, and all the letters that stand for bytes. */
enum { PHY_CHAR_TABLE = 0x400 };

/* A loaded model is only read, by any number of threads. */
struct phy_bpe {
    struct phy_name_set names;  /* spelling -> id */
    char *arena;                /* the spellings */
    uint32_t *by_id;            /* (names.count) entries of names, by rising id */
    bool dense;                 /* the ids are 0 .. names.count - 1 */
    struct phy_pair_map merges; /* (left, right) -> rank */
    uint32_t *merged;           /* (merge_count) what the merge of a rank gives */
    size_t merge_count;
    /* (last character of a left part, first character of a right part) of every merge. Where two neighbours are not in
     * here no merge can ever reach across, so that a text falls into short words whatever the pre-tokenizer did. */
    struct phy_pair_map joins;
    uint64_t ascii_joins[128][2]; /* the same for ASCII pairs, one bit each */
    uint32_t char_symbol[PHY_CHAR_TABLE];
    uint32_t byte_symbol[256]; /* <0x00> .. <0xFF>, or PHY_NO_TOKEN */
    bool byte_fallback, fuse_unk, ignore_merges;
    bool has_unk;   /* there is an unk_token */
    uint32_t unk;   /* its id, or PHY_NO_TOKEN when the vocabulary lacks it */
    char *unk_text; /* for messages and for its characters; or NULL */
    size_t unk_bytes;
};

/* One spelling, or NULL when no token has the id. */
const struct phy_name *phy_bpe_token(const struct phy_bpe *bpe, uint32_t id);
/* PHY_NO_TOKEN when it is not in the vocabulary. */
uint32_t phy_bpe_find(const struct phy_bpe *bpe, const char *text, size_t bytes);

/* names, merges and merged are filled in: build the rest. False: no memory. The spellings are copied, so that what
 * they were in may go. */
bool phy_bpe_finish(struct phy_bpe *bpe);
void phy_bpe_free(struct phy_bpe *bpe);

/* A symbol in the merge loop, and its neighbours. */
struct phy_bpe_link {
    uint32_t id, before, after;
};

/* What one encoding at a time needs: the word in work, the merge loop's arrays, and the words seen lately. */
struct phy_bpe_work {
    const struct phy_bpe *bpe;
    const struct phy_host *host;
    const char *name; /* of the file, for messages */
    struct phy_ids word;
    uint32_t last_code; /* the last character of the word's last symbol */
    struct phy_bpe_link *links;
    size_t link_capacity;
    uint64_t *heap; /* rank << 32 | position */
    size_t heap_count, heap_capacity;
    struct phy_ids cached; /* records: symbol count, id count, symbols, ids */
    uint32_t *cache_slots; /* (slot_count) place of a record plus 1, 0 when free */
    size_t cache_slot_count, cache_count;
    uint64_t since_asked; /* characters and merges since the host was asked last */
    bool stopped;         /* the host wants no more */
};

void phy_bpe_work_free(struct phy_bpe_work *work);

/* Append the ids of one piece, valid UTF-8 of less than 2^31 bytes.
 *   PHY_ERR_FORMAT       a character has no token and the unknown token is not in the vocabulary
 *   PHY_ERR_INTERRUPTED  the host asked to stop
 *   PHY_ERR_MEMORY       host allocation failed
 * n log n in the length of a word, whatever the word. */
enum phy_status phy_bpe_encode(struct phy_bpe_work *work, const char *text, size_t bytes, struct phy_ids *out);

#endif
