/* SPDX-License-Identifier: Apache-2.0 */
/* SentencePiece keeps no merges: a pair merges if the vocabulary has what the two make, best score first.
 * tokenizer.json wants them listed, best first, so every token is cut in two at every character. Only normal tokens
 * take part: user-defined ones are matched whole before, and the others cannot come from text. */
#include <stdlib.h>

#include "base/alloc.h"
#include "base/log.h"
#include "import/tokenizer.h"

struct ranked {
    double score;
    size_t id;
};

struct cut {
    size_t left, right;
};

static int best_first(const void *a, const void *b)
{
    const struct ranked *x = a, *y = b;
    if (x->score != y->score)
        return x->score > y->score ? -1 : 1;
    return x->id < y->id ? -1 : x->id > y->id;
}

static int by_ids(const void *a, const void *b)
{
    const struct cut *x = a, *y = b;
    if (x->left != y->left)
        return x->left < y->left ? -1 : 1;
    return x->right < y->right ? -1 : x->right > y->right;
}

static bool find_normal(const struct import_tokenizer *t, const char *text, size_t bytes, size_t *id)
{
    return phy_names_find(&t->vocabulary, text, bytes, id) && t->types[*id] == TOKEN_NORMAL;
}

/* The cuts of one token into cuts (room for one a byte), ordered; returns how many. */
static size_t cut_token(const struct import_tokenizer *t, size_t id, struct cut *cuts)
{
    size_t bytes, count = 0;
    const char *text = phy_names_at(&t->vocabulary, id, &bytes);
    for (size_t at = phy_utf8_sequence(text, bytes, NULL); at < bytes;
         at += phy_utf8_sequence(text + at, bytes - at, NULL)) {
        struct cut *cut = &cuts[count];
        if (find_normal(t, text, at, &cut->left) && find_normal(t, text + at, bytes - at, &cut->right))
            count++;
    }
    qsort(cuts, count, sizeof *cuts, by_ids);
    return count;
}

bool phy_import_piece_merges(const struct import_tokenizer *tokenizer,
                             void (*emit)(void *user, size_t left, size_t right), void *user)
{
    size_t total = tokenizer->vocabulary.count, count = 0, longest = 1;
    struct ranked *ranked = phy_alloc(total, sizeof *ranked);
    for (size_t id = 0; id < total && ranked; id++) {
        size_t bytes;
        phy_names_at(&tokenizer->vocabulary, id, &bytes);
        if (tokenizer->types[id] != TOKEN_NORMAL)
            continue;
        longest = bytes > longest ? bytes : longest;
        ranked[count++] = (struct ranked){.score = tokenizer->scores[id], .id = id};
    }
    struct cut *cuts = phy_alloc(longest, sizeof *cuts);
    if (!ranked || !cuts) {
        phy_free(ranked);
        phy_free(cuts);
        return false;
    }
    qsort(ranked, count, sizeof *ranked, best_first);
    for (size_t i = 0; i < count; i++) {
        size_t found = cut_token(tokenizer, ranked[i].id, cuts);
        for (size_t c = 0; c < found; c++)
            emit(user, cuts[c].left, cuts[c].right);
    }
    phy_free(ranked);
    phy_free(cuts);
    return true;
}
