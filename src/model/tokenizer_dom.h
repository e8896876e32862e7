/* SPDX-License-Identifier: Apache-2.0 */
/* Small parts of a JSON text as a tree, for components whose keys may come in any order. */
#ifndef PHY_MODEL_TOKENIZER_DOM_H
#define PHY_MODEL_TOKENIZER_DOM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "format/json_scan.h"
#include "physarium/host.h"

enum { PHY_DOM_NODES_MAX = 1 << 16 };
/* No node: the root (0) is nobody's child and nobody's neighbour. */
enum { PHY_DOM_NONE = 0 };

/* Texts point into the scan's. */
struct phy_dom_node {
    enum phy_json_kind kind; /* of a value */
    uint32_t first, next;    /* first child, next neighbour, or PHY_DOM_NONE */
    uint32_t key_bytes;
    const char *key, *text; /* key in an object; a string's or number's text */
    size_t bytes, at;
};

struct phy_dom {
    struct phy_dom_node *nodes;
    size_t count, capacity;
};

/* Report what is wrong with the text, PHY_ERR_FORMAT: token->kind is PHY_JSON_ERROR. No tokenizer is nested as deep as
 * the scanner follows, so that such a file is malformed rather than beyond a limit. */
enum phy_status phy_dom_fail(const struct phy_json_token *token, const char *name, const struct phy_host *host);

/* Read the value whose first token is `token`, in place of what the tree held before.
 *   PHY_ERR_FORMAT, PHY_ERR_LIMIT, PHY_ERR_MEMORY */
enum phy_status phy_dom_read(struct phy_dom *dom, struct phy_json_scan *scan, const struct phy_json_token *token,
                             const char *name, const struct phy_host *host);
void phy_dom_free(struct phy_dom *dom);

/* The value of an object's key; PHY_DOM_NONE when there is none. *twice is set when there is more than one. */
uint32_t phy_dom_get(const struct phy_dom *dom, uint32_t object, const char *key, bool *twice);

#endif
