/* SPDX-License-Identifier: Apache-2.0 */
#include "model/tokenizer_bpe.h"

#include <stdio.h>

#include "base/alloc.h"
#include "base/log.h"
#include "format/array.h"

/* A word of more symbols is not worth remembering; and where the memory of words starts anew. */
enum { CACHED_SYMBOLS_MAX = 48, CACHED_WORDS_MAX = 1 << 16 };
/* Characters or merges between two questions to the host. */
enum { BETWEEN_QUESTIONS = 1 << 20 };

static const uint32_t NO_LINK = UINT32_MAX;

/* ---- the vocabulary ---- */

const struct phy_name *phy_bpe_token(const struct phy_bpe *bpe, uint32_t id)
{
    size_t low = 0, high = bpe->names.count;
    if (bpe->dense)
        return id < high ? &bpe->names.names[bpe->by_id[id]] : NULL;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const struct phy_name *name = &bpe->names.names[bpe->by_id[middle]];
        if (name->value == id)
            return name;
        if (name->value < id)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

uint32_t phy_bpe_find(const struct phy_bpe *bpe, const char *text, size_t bytes)
{
    const struct phy_name *name = phy_name_set_find(&bpe->names, 0, text, bytes);
    return name ? name->value : PHY_NO_TOKEN;
}

static bool copy_spellings(struct phy_bpe *bpe)
{
    size_t bytes = 0;
    for (size_t i = 0; i < bpe->names.count; i++)
        bytes += bpe->names.names[i].bytes;
    bpe->arena = phy_alloc(bytes, 1);
    if (!bpe->arena)
        return false;
    char *to = bpe->arena;
    for (size_t i = 0; i < bpe->names.count; i++) {
        struct phy_name *name = &bpe->names.names[i];
        if (name->bytes)
            memcpy(to, name->text, name->bytes);
        name->text = to;
        to += name->bytes;
    }
    return true;
}

struct id_entry {
    uint32_t id, entry;
};

static int compare_ids(const void *a, const void *b)
{
    const struct id_entry *x = a, *y = b;
    return (x->id > y->id) - (x->id < y->id);
}

static bool sort_by_id(struct phy_bpe *bpe)
{
    size_t count = bpe->names.count;
    struct id_entry *entries = phy_alloc(count, sizeof *entries);
    bpe->by_id = phy_alloc(count, sizeof *bpe->by_id);
    if (entries && bpe->by_id) {
        for (size_t i = 0; i < count; i++)
            entries[i] = (struct id_entry){bpe->names.names[i].value, (uint32_t)i};
        if (phy_array_sort(entries, count, sizeof *entries, compare_ids)) {
            for (size_t i = 0; i < count; i++)
                bpe->by_id[i] = entries[i].entry;
            bpe->dense = count > 0 && entries[count - 1].id == count - 1;
            phy_free(entries);
            return true;
        }
    }
    phy_free(entries);
    return false;
}

static void fill_symbol_tables(struct phy_bpe *bpe)
{
    char text[8];
    for (uint32_t code = 0; code < PHY_CHAR_TABLE; code++)
        bpe->char_symbol[code] = phy_bpe_find(bpe, text, phy_put_char(text, code));
    for (unsigned byte = 0; byte < 256; byte++) {
        snprintf(text, sizeof text, "<0x%02X>", byte);
        bpe->byte_symbol[byte] = phy_bpe_find(bpe, text, 6);
    }
}

static bool put_join(struct phy_bpe *bpe, const struct phy_name *left, const struct phy_name *right)
{
    uint32_t last, first;
    if (!left->bytes || !right->bytes)
        return true; /* no symbol is ever empty */
    phy_last_char(left->text, left->bytes, &last);
    phy_next_char(right->text, &first);
    if (last < 128 && first < 128)
        bpe->ascii_joins[last][first / 64] |= UINT64_C(1) << first % 64;
    return phy_pair_map_put(&bpe->joins, last, first, 0);
}

bool phy_bpe_finish(struct phy_bpe *bpe)
{
    if (!copy_spellings(bpe) || !sort_by_id(bpe))
        return false;
    fill_symbol_tables(bpe);
    for (size_t i = 0; i < bpe->merges.slot_count; i++) {
        const struct phy_pair_slot *s = &bpe->merges.slots[i];
        if (s->value != PHY_PAIR_NONE && !put_join(bpe, phy_bpe_token(bpe, s->high), phy_bpe_token(bpe, s->low)))
            return false;
    }
    return true;
}

void phy_bpe_free(struct phy_bpe *bpe)
{
    phy_name_set_free(&bpe->names);
    phy_free(bpe->arena);
    phy_free(bpe->by_id);
    phy_pair_map_free(&bpe->merges);
    phy_free(bpe->merged);
    phy_pair_map_free(&bpe->joins);
    phy_free(bpe->unk_text);
    *bpe = (struct phy_bpe){0};
}

/* ---- the merge loop ---- */

void phy_bpe_work_free(struct phy_bpe_work *work)
{
    phy_ids_free(&work->word);
    phy_ids_free(&work->cached);
    phy_free(work->links);
    phy_free(work->heap);
    phy_free(work->cache_slots);
    *work = (struct phy_bpe_work){0};
}

/* A heap of four children a node: half the depth of two, and the children share a cache line. */
static void heap_push(struct phy_bpe_work *work, uint64_t item)
{
    size_t at = work->heap_count++;
    while (at > 0 && work->heap[(at - 1) / 4] > item) {
        work->heap[at] = work->heap[(at - 1) / 4];
        at = (at - 1) / 4;
    }
    work->heap[at] = item;
}

static uint64_t heap_pop(struct phy_bpe_work *work)
{
    uint64_t *heap = work->heap, top = heap[0], item = heap[--work->heap_count];
    size_t count = work->heap_count, at = 0;
    for (;;) {
        size_t child = at * 4 + 1, least = child;
        if (child >= count)
            break;
        for (size_t c = child + 1; c < count && c < child + 4; c++)
            least = heap[c] < heap[least] ? c : least;
        if (heap[least] >= item)
            break;
        heap[at] = heap[least];
        at = least;
    }
    heap[at] = item;
    return top;
}

static bool reserve_links(struct phy_bpe_work *work, size_t count)
{
    if (count > work->link_capacity) {
        phy_free(work->links);
        work->link_capacity = 0;
        work->links = phy_alloc(count, sizeof *work->links);
        if (!work->links)
            return false;
        work->link_capacity = count;
    }
    /* Every merge takes one entry out and puts at most two in, and there are fewer merges than symbols. */
    uint64_t *heap = phy_array_reserve(work->heap, &work->heap_capacity, 2 * count, sizeof *heap);
    if (heap)
        work->heap = heap;
    return heap != NULL;
}

static void push_pair(struct phy_bpe_work *work, uint32_t left, uint32_t right, uint32_t position)
{
    uint32_t rank = phy_pair_map_get(&work->bpe->merges, left, right);
    if (rank != PHY_PAIR_NONE)
        heap_push(work, (uint64_t)rank << 32 | position);
}

/* Merge the pair at `at` into `to`; the right symbol's place becomes PHY_NO_TOKEN. */
static void merge_at(struct phy_bpe_work *work, uint32_t at, uint32_t to)
{
    struct phy_bpe_link *links = work->links, *left = &links[at], *right = &links[left->after];
    left->id = to;
    left->after = right->after;
    right->id = PHY_NO_TOKEN;
    if (left->before != NO_LINK)
        push_pair(work, links[left->before].id, to, left->before);
    if (left->after != NO_LINK) {
        links[left->after].before = at;
        push_pair(work, to, links[left->after].id, at);
    }
}

static void link_symbols(struct phy_bpe_work *work, const uint32_t *ids, size_t count)
{
    work->heap_count = 0;
    for (uint32_t i = 0; i < count; i++) {
        bool last = i + 1 == count;
        work->links[i] = (struct phy_bpe_link){ids[i], i ? i - 1 : NO_LINK, last ? NO_LINK : i + 1};
        if (!last)
            push_pair(work, ids[i], ids[i + 1], i);
    }
}

/* Asks the host now and then. */
static bool must_stop(struct phy_bpe_work *work)
{
    if (++work->since_asked < BETWEEN_QUESTIONS)
        return false;
    work->since_asked = 0;
    work->stopped = work->stopped || phy_cancelled(work->host);
    return work->stopped;
}

/* A word's work has failed: the host stopped it, or there is no memory. */
static enum phy_status fail_word(const struct phy_bpe_work *work)
{
    if (work->stopped)
        return phy_fail(work->host, PHY_ERR_INTERRUPTED, "%s: interrupted", work->name);
    return phy_fail_memory(work->host, "a word's symbols", work->word.count * sizeof *work->links);
}

/* Merge ids (count >= 2) in place, lowest rank first, leftmost first; the new count, or 0 for fail_word. */
static size_t merge_all(struct phy_bpe_work *work, uint32_t *ids, size_t count)
{
    const struct phy_bpe *bpe = work->bpe;
    if (!reserve_links(work, count))
        return 0;
    link_symbols(work, ids, count);
    while (work->heap_count) {
        uint64_t top = heap_pop(work);
        uint32_t at = (uint32_t)top, to = bpe->merged[top >> 32];
        const struct phy_bpe_link *left = &work->links[at];
        if (left->id == PHY_NO_TOKEN || left->after == NO_LINK)
            continue;
        /* The pair may have changed since; it still counts if it gives the same token (as in Hugging Face's loop). */
        uint32_t now = phy_pair_map_get(&bpe->merges, left->id, work->links[left->after].id);
        if (now != PHY_PAIR_NONE && bpe->merged[now] == to) {
            merge_at(work, at, to);
            if (must_stop(work))
                return 0;
        }
    }
    size_t kept = 0;
    for (uint32_t i = 0; i != NO_LINK; i = work->links[i].after)
        ids[kept++] = work->links[i].id;
    return kept;
}

/* ---- words seen lately ---- */

static uint32_t hash_symbols(const uint32_t *symbols, size_t count)
{
    uint64_t hash = count;
    for (size_t i = 0; i < count; i++)
        hash = (hash ^ symbols[i]) * UINT64_C(0x9E3779B97F4A7C15) ^ hash >> 29;
    return (uint32_t)(hash >> 32);
}

/* The slot of a word: the place of its record, or a free one. A text made to collide only ever meets 8 others: after
 * that the slot is taken over, and the word before is forgotten. */
static uint32_t *cache_slot(struct phy_bpe_work *work, const uint32_t *symbols, size_t count)
{
    size_t mask = work->cache_slot_count - 1, slot = hash_symbols(symbols, count) & mask;
    for (int tries = 0; tries < 8; tries++, slot = (slot + 1) & mask) {
        uint32_t at = work->cache_slots[slot];
        if (!at)
            return &work->cache_slots[slot];
        const uint32_t *record = work->cached.data + at - 1;
        if (record[0] == count && memcmp(record + 2, symbols, count * sizeof *symbols) == 0)
            return &work->cache_slots[slot];
    }
    work->cache_slots[slot] = 0;
    return &work->cache_slots[slot];
}

static bool start_cache_anew(struct phy_bpe_work *work, size_t slot_count)
{
    if (slot_count != work->cache_slot_count) {
        phy_free(work->cache_slots);
        work->cache_slots = phy_alloc(slot_count, sizeof *work->cache_slots);
        work->cache_slot_count = work->cache_slots ? slot_count : 0;
    }
    work->cache_count = work->cached.count = 0;
    if (!work->cache_slots)
        return false;
    memset(work->cache_slots, 0, slot_count * sizeof *work->cache_slots);
    return true;
}

/* Small texts must not pay for a large table: it quadruples, and forgets, until it has room for CACHED_WORDS_MAX. */
static bool tend_cache(struct phy_bpe_work *work)
{
    if (!work->cache_slot_count)
        return start_cache_anew(work, 256);
    if (work->cache_count < work->cache_slot_count / 2)
        return true;
    size_t slots = work->cache_slot_count;
    return start_cache_anew(work, slots / 2 < CACHED_WORDS_MAX ? slots * 4 : slots);
}

static bool put_all(struct phy_ids *out, const uint32_t *ids, size_t count)
{
    if (!phy_ids_reserve(out, out->count + count))
        return false;
    memcpy(out->data + out->count, ids, count * sizeof *ids);
    out->count += count;
    return true;
}

static bool merge_cached(struct phy_bpe_work *work, struct phy_ids *out)
{
    struct phy_ids *word = &work->word, *cached = &work->cached;
    if (!tend_cache(work))
        return false;
    uint32_t *slot = cache_slot(work, word->data, word->count);
    if (*slot) {
        const uint32_t *record = cached->data + *slot - 1;
        return put_all(out, record + 2 + record[0], record[1]);
    }
    size_t at = cached->count, symbols = word->count;
    if (!phy_ids_put(cached, (uint32_t)symbols) || !phy_ids_put(cached, 0) || !put_all(cached, word->data, symbols))
        return false;
    size_t kept = merge_all(work, word->data, symbols);
    if (!kept || !put_all(cached, word->data, kept))
        return false;
    cached->data[at + 1] = (uint32_t)kept;
    *slot = (uint32_t)at + 1;
    work->cache_count++;
    return put_all(out, word->data, kept);
}

/* The word is whole: append what it merges to. */
static bool end_word(struct phy_bpe_work *work, struct phy_ids *out)
{
    struct phy_ids *word = &work->word;
    bool ok;
    if (word->count == 2) {
        uint32_t rank = phy_pair_map_get(&work->bpe->merges, word->data[0], word->data[1]);
        ok = rank == PHY_PAIR_NONE ? put_all(out, word->data, 2) : phy_ids_put(out, work->bpe->merged[rank]);
    } else if (word->count < 2) {
        ok = word->count == 0 || phy_ids_put(out, word->data[0]);
    } else if (word->count <= CACHED_SYMBOLS_MAX) {
        ok = merge_cached(work, out);
    } else {
        size_t kept = merge_all(work, word->data, word->count);
        ok = kept && put_all(out, word->data, kept);
    }
    word->count = 0;
    return ok;
}

/* ---- text to symbols ---- */

static bool joins(const struct phy_bpe *bpe, uint32_t last, uint32_t first)
{
    if ((last | first) < 128)
        return bpe->ascii_joins[last][first / 64] >> first % 64 & 1;
    return phy_pair_map_get(&bpe->joins, last, first) != PHY_PAIR_NONE;
}

/* A symbol whose spelling begins with the character `first` and ends with `last`. */
static bool put_symbol(struct phy_bpe_work *work, uint32_t id, uint32_t first, uint32_t last, struct phy_ids *out)
{
    if (work->word.count && !joins(work->bpe, work->last_code, first) && !end_word(work, out))
        return false;
    work->last_code = last;
    return phy_ids_put(&work->word, id);
}

static bool put_unk(struct phy_bpe_work *work, struct phy_ids *out)
{
    const struct phy_bpe *bpe = work->bpe;
    uint32_t first = 0, last = 0;
    if (bpe->unk_bytes) { /* an empty one is in no merge */
        phy_next_char(bpe->unk_text, &first);
        phy_last_char(bpe->unk_text, bpe->unk_bytes, &last);
    }
    return put_symbol(work, bpe->unk, first, last, out);
}

static enum phy_status fail_unk(const struct phy_bpe_work *work, const char *text, size_t bytes)
{
    char what[PHY_QUOTED_BYTES], unk[PHY_QUOTED_BYTES];
    return phy_fail(work->host, PHY_ERR_FORMAT,
                    "%s: model: no token for %s, and the unk_token %s is not in the vocabulary", work->name,
                    phy_quote(what, text, bytes), phy_quote(unk, work->bpe->unk_text, work->bpe->unk_bytes));
}

/* All four bytes of a character have tokens. */
static bool bytes_have_tokens(const struct phy_bpe *bpe, const char *text, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        if (bpe->byte_symbol[(unsigned char)text[i]] == PHY_NO_TOKEN)
            return false;
    return true;
}

/* What one piece keeps between its characters. An unknown token waits until a known one comes: unknown neighbours may
 * be fused, and byte tokens overtake it (Hugging Face's order, which the ids must have too). */
struct piece {
    struct phy_bpe_work *work;
    struct phy_ids *out;
    bool unk_waits;
};

static enum phy_status put_unknown_char(struct piece *piece, const char *text, size_t bytes)
{
    struct phy_bpe_work *work = piece->work;
    const struct phy_bpe *bpe = work->bpe;
    bool ok = true;
    if (bpe->byte_fallback && bytes_have_tokens(bpe, text, bytes)) {
        for (size_t i = 0; ok && i < bytes; i++)
            ok = put_symbol(work, bpe->byte_symbol[(unsigned char)text[i]], '<', '>', piece->out);
    } else if (bpe->has_unk) {
        if (bpe->unk == PHY_NO_TOKEN)
            return fail_unk(work, text, bytes);
        if (piece->unk_waits && !bpe->fuse_unk)
            ok = put_unk(work, piece->out);
        piece->unk_waits = true;
    }
    return ok ? PHY_OK : fail_word(work);
}

static enum phy_status put_char(struct piece *piece, const char *text, size_t bytes, uint32_t code)
{
    const struct phy_bpe *bpe = piece->work->bpe;
    uint32_t id = code < PHY_CHAR_TABLE ? bpe->char_symbol[code] : phy_bpe_find(bpe, text, bytes);
    if (id == PHY_NO_TOKEN)
        return put_unknown_char(piece, text, bytes);
    bool ok = !piece->unk_waits || put_unk(piece->work, piece->out);
    piece->unk_waits = false;
    ok = ok && put_symbol(piece->work, id, code, code, piece->out);
    return ok ? PHY_OK : fail_word(piece->work);
}

enum phy_status phy_bpe_encode(struct phy_bpe_work *work, const char *text, size_t bytes, struct phy_ids *out)
{
    const struct phy_bpe *bpe = work->bpe;
    struct piece piece = {.work = work, .out = out};
    uint32_t whole = bpe->ignore_merges ? phy_bpe_find(bpe, text, bytes) : PHY_NO_TOKEN, code;
    if (whole != PHY_NO_TOKEN)
        return phy_ids_put(out, whole) ? PHY_OK : phy_fail_memory(work->host, "ids", out->count);
    work->word.count = 0;
    for (size_t at = 0, length; at < bytes; at += length) {
        length = phy_next_char(text + at, &code);
        enum phy_status status = put_char(&piece, text + at, length, code);
        if (status != PHY_OK)
            return status;
        if (must_stop(work))
            return fail_word(work);
    }
    if ((piece.unk_waits && !put_unk(work, out)) || !end_word(work, out))
        return fail_word(work);
    return PHY_OK;
}
