/* SPDX-License-Identifier: Apache-2.0 */
#include "base/alloc.h"
#include "base/log.h"
#include "format/array.h"
#include "model/tokenizer_parts.h"

void phy_matcher_free(struct phy_matcher *matcher)
{
    phy_pair_map_free(&matcher->children);
    phy_free(matcher->fail);
    phy_free(matcher->token);
    *matcher = (struct phy_matcher){0};
}

/* ---- building ---- */

/* In `fail` before the links are known: the parent and the byte of each node, to walk the trie by depth. */
struct trie_node {
    uint32_t parent, depth;
    unsigned char byte;
};

struct trie {
    struct trie_node *nodes;
    size_t capacity;
};

static uint32_t child_of(const struct phy_matcher *m, uint32_t node, unsigned char byte)
{
    uint32_t child = phy_pair_map_get(&m->children, node, byte);
    return child == PHY_PAIR_NONE ? 0 : child;
}

static uint32_t add_node(struct phy_matcher *m, struct trie *trie, uint32_t parent, unsigned char byte)
{
    struct trie_node *nodes = phy_array_reserve(trie->nodes, &trie->capacity, m->node_count + 1, sizeof *nodes);
    if (!nodes)
        return 0;
    trie->nodes = nodes;
    uint32_t *token = phy_array_reserve(m->token, &m->node_capacity, m->node_count + 1, sizeof *token);
    if (!token)
        return 0;
    m->token = token;
    uint32_t node = (uint32_t)m->node_count;
    if (node && !phy_pair_map_put(&m->children, parent, byte, node))
        return 0;
    nodes[node] = (struct trie_node){parent, node ? nodes[parent].depth + 1 : 0, byte};
    token[node] = PHY_NO_TOKEN;
    m->node_count++;
    return node;
}

/* The last node of the reversed text, 0 when there is no memory. */
static uint32_t insert(struct phy_matcher *m, struct trie *trie, const char *text, size_t bytes)
{
    uint32_t node = 0;
    for (size_t i = bytes; i-- > 0;) {
        unsigned char byte = (unsigned char)text[i];
        uint32_t child = child_of(m, node, byte);
        node = child ? child : add_node(m, trie, node, byte);
        if (!node)
            return 0;
    }
    return node;
}

static uint32_t step(const struct phy_matcher *m, uint32_t node, unsigned char byte)
{
    for (;;) {
        if (!node)
            return m->root[byte];
        uint32_t child = child_of(m, node, byte);
        if (child)
            return child;
        node = m->fail[node];
    }
}

struct by_depth {
    uint32_t depth, node;
};

static int compare_depths(const void *a, const void *b)
{
    const struct by_depth *x = a, *y = b;
    return (x->depth > y->depth) - (x->depth < y->depth);
}

/* Failure links from the shallow to the deep, and for each node the longest token among its suffixes. */
static bool link_nodes(struct phy_matcher *m, const struct trie *trie)
{
    struct by_depth *order = phy_alloc(m->node_count, sizeof *order);
    m->fail = phy_zalloc(m->node_count, sizeof *m->fail);
    for (size_t i = 0; order && i < m->node_count; i++)
        order[i] = (struct by_depth){trie->nodes[i].depth, (uint32_t)i};
    bool ok = order && m->fail && phy_array_sort(order, m->node_count, sizeof *order, compare_depths);
    for (unsigned byte = 0; byte < 256; byte++)
        m->root[byte] = child_of(m, 0, (unsigned char)byte);
    for (size_t i = 0; ok && i < m->node_count; i++) {
        uint32_t node = order[i].node;
        const struct trie_node *n = &trie->nodes[node];
        if (n->depth > 1)
            m->fail[node] = step(m, m->fail[n->parent], n->byte);
        if (n->depth && m->token[node] == PHY_NO_TOKEN)
            m->token[node] = m->token[m->fail[node]];
    }
    phy_free(order);
    return ok;
}

static enum phy_status fail_same(const struct phy_tokenizer *t, size_t a, size_t b)
{
    return phy_fail(t->host, PHY_ERR_FORMAT, "%s: added_tokens %zu and %zu: the same text once it is normalized",
                    t->name, a, b);
}

static enum phy_status build(struct phy_tokenizer *t, struct phy_matcher *m, bool normalized)
{
    struct trie trie = {0};
    enum phy_status status = PHY_OK;
    bool ok = true, any = false;
    add_node(m, &trie, 0, 0);
    ok = m->node_count == 1;
    for (size_t i = 0; ok && status == PHY_OK && i < t->added_count; i++) {
        const struct phy_added_token *token = &t->added[i];
        if (token->normalized != normalized)
            continue;
        size_t bytes = token->normal ? token->normal_bytes : token->bytes;
        uint32_t node = bytes ? insert(m, &trie, token->normal ? token->normal : token->content, bytes) : 0;
        any = any || node;
        ok = node || !bytes;
        if (node && m->token[node] != PHY_NO_TOKEN)
            status = fail_same(t, m->token[node], i);
        else if (node)
            m->token[node] = (uint32_t)i;
    }
    if (ok && status == PHY_OK && any)
        ok = link_nodes(m, &trie);
    phy_free(trie.nodes);
    if (!any)
        phy_matcher_free(m);
    return status != PHY_OK || ok ? status : phy_fail_memory(t->host, "added tokens", m->node_count);
}

enum phy_status phy_added_finish(struct phy_tokenizer *tokenizer)
{
    enum phy_status status = build(tokenizer, &tokenizer->raw, false);
    return status == PHY_OK ? build(tokenizer, &tokenizer->normal, true) : status;
}

/* ---- matching ---- */

struct found {
    size_t at;
    uint32_t token;
};

struct found_list {
    struct found *items;
    size_t count, capacity;
};

/* The longest token that begins at each position, from the last position to the first. */
static bool find_all(const struct phy_matcher *m, const char *text, size_t bytes, struct found_list *list)
{
    uint32_t node = 0;
    for (size_t i = bytes; i-- > 0;) {
        node = step(m, node, (unsigned char)text[i]);
        if (m->token[node] == PHY_NO_TOKEN)
            continue;
        struct found *items = phy_array_reserve(list->items, &list->capacity, list->count + 1, sizeof *items);
        if (!items)
            return false;
        list->items = items;
        items[list->count++] = (struct found){i, m->token[node]};
    }
    return true;
}

static bool put_stretch(struct phy_stretches *out, size_t begin, size_t end, uint32_t token)
{
    struct phy_stretch *items = phy_array_reserve(out->items, &out->capacity, out->count + 1, sizeof *items);
    if (!items)
        return false;
    out->items = items;
    items[out->count++] = (struct phy_stretch){begin, end, token};
    return true;
}

static bool is_single_word(const char *text, size_t bytes, size_t begin, size_t end)
{
    uint32_t code;
    if (begin > 0) {
        phy_last_char(text, begin, &code);
        if (phy_is_word(code))
            return false;
    }
    if (end < bytes) {
        phy_next_char(text + end, &code);
        return !phy_is_word(code);
    }
    return true;
}

/* Take white space before the token, but none that another has taken: `floor` bounds the walk, so that it is linear. */
static size_t strip_left(const char *text, size_t begin, size_t floor)
{
    while (begin > floor) {
        uint32_t code;
        size_t length = phy_last_char(text, begin, &code);
        if (!phy_is_white_space(code))
            break;
        begin -= length;
    }
    return begin;
}

static size_t strip_right(const char *text, size_t bytes, size_t end)
{
    while (end < bytes) {
        uint32_t code;
        size_t length = phy_next_char(text + end, &code);
        if (!phy_is_white_space(code))
            break;
        end += length;
    }
    return end;
}

bool phy_find_added(const struct phy_tokenizer *tokenizer, const struct phy_matcher *matcher, const char *text,
                    size_t bytes, bool special_as_text, struct phy_stretches *out)
{
    struct found_list list = {0};
    out->count = 0;
    bool ok = !matcher->node_count || find_all(matcher, text, bytes, &list);
    /* matched: behind the last match, taken or not; kept: behind the last stretch that was put out. */
    size_t matched = 0, kept = 0, white_end = 0;
    for (size_t i = list.count; ok && i-- > 0;) {
        const struct phy_added_token *token = &tokenizer->added[list.items[i].token];
        size_t begin = list.items[i].at;
        if (begin < matched)
            continue;
        size_t end = begin + (token->normal ? token->normal_bytes : token->bytes);
        matched = end;
        if ((special_as_text && token->special) || (token->single_word && !is_single_word(text, bytes, begin, end)))
            continue;
        if (token->lstrip && begin > kept)
            begin = strip_left(text, begin, kept);
        else if (token->lstrip)
            begin = kept; /* white space that another token has taken, up to there */
        if (token->rstrip)
            /* A long run of white space that holds tokens is walked once. */
            end = white_end = end < white_end ? white_end : strip_right(text, bytes, end);
        if (begin >= end)
            continue; /* nothing but white space that the token before has taken: no token, as in Hugging Face's */
        if (kept < begin)
            ok = put_stretch(out, kept, begin, PHY_NO_TOKEN);
        ok = ok && put_stretch(out, begin, end, list.items[i].token);
        kept = end;
    }
    if (ok && kept != bytes)
        ok = put_stretch(out, kept, bytes, PHY_NO_TOKEN);
    phy_free(list.items);
    return ok;
}
