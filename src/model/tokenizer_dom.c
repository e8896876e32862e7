/* SPDX-License-Identifier: Apache-2.0 */
#include "model/tokenizer_dom.h"

#include <string.h>

#include "base/alloc.h"
#include "base/log.h"
#include "format/array.h"

enum phy_status phy_dom_fail(const struct phy_json_token *token, const char *name, const struct phy_host *host)
{
    return phy_fail(host, PHY_ERR_FORMAT, "%s: byte %zu: %s", name, token->at, token->text);
}

void phy_dom_free(struct phy_dom *dom)
{
    phy_free(dom->nodes);
    *dom = (struct phy_dom){0};
}

/* Where the next node hangs: behind `last`, or as the first child of `parent`. */
struct place {
    uint32_t parent, last;
};

static bool put_node(struct phy_dom *dom, struct place *place, const struct phy_json_token *key,
                     const struct phy_json_token *token)
{
    struct phy_dom_node *nodes = phy_array_reserve(dom->nodes, &dom->capacity, dom->count + 1, sizeof *nodes);
    if (!nodes)
        return false;
    dom->nodes = nodes;
    uint32_t node = (uint32_t)dom->count++;
    nodes[node] = (struct phy_dom_node){.kind = token->kind,
                                        .key = key->text,
                                        .key_bytes = (uint32_t)key->bytes,
                                        .text = token->text,
                                        .bytes = token->bytes,
                                        .at = token->at};
    if (node) {
        if (place->last)
            nodes[place->last].next = node;
        else
            nodes[place->parent].first = node;
    }
    place->last = node;
    return true;
}

enum phy_status phy_dom_read(struct phy_dom *dom, struct phy_json_scan *scan, const struct phy_json_token *token,
                             const char *name, const struct phy_host *host)
{
    struct place places[PHY_JSON_DEPTH + 1] = {{0, 0}};
    struct phy_json_token now = *token, key = {0};
    size_t depth = 0;
    dom->count = 0;
    for (;;) {
        bool opens = now.kind == PHY_JSON_OBJECT || now.kind == PHY_JSON_ARRAY;
        if (now.kind == PHY_JSON_ERROR)
            return phy_dom_fail(&now, name, host);
        if (now.kind == PHY_JSON_KEY) {
            key = now;
        } else if (now.kind == PHY_JSON_OBJECT_END || now.kind == PHY_JSON_ARRAY_END) {
            depth--;
        } else {
            if (dom->count == PHY_DOM_NODES_MAX)
                return phy_fail(host, PHY_ERR_LIMIT, "%s: byte %zu: a component of more than %d values", name, now.at,
                                PHY_DOM_NODES_MAX);
            if (!put_node(dom, &places[depth], &key, &now))
                return phy_fail_memory(host, "a component", dom->count * sizeof *dom->nodes);
            key = (struct phy_json_token){0};
        }
        if (opens)
            places[++depth] = (struct place){(uint32_t)dom->count - 1, 0};
        if (depth == 0)
            return PHY_OK;
        phy_json_next(scan, &now);
    }
}

uint32_t phy_dom_get(const struct phy_dom *dom, uint32_t object, const char *key, bool *twice)
{
    uint32_t found = PHY_DOM_NONE;
    size_t bytes = strlen(key);
    *twice = false;
    if (dom->nodes[object].kind != PHY_JSON_OBJECT)
        return PHY_DOM_NONE;
    for (uint32_t node = dom->nodes[object].first; node; node = dom->nodes[node].next) {
        if (dom->nodes[node].key_bytes != bytes || memcmp(dom->nodes[node].key, key, bytes) != 0)
            continue;
        *twice = found != PHY_DOM_NONE;
        if (!found)
            found = node;
        else
            break;
    }
    return found;
}
