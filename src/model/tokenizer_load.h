/* SPDX-License-Identifier: Apache-2.0 */
/* tokenizer.json to a tokenizer: tokenizer_load.c reads the file as a whole, tokenizer_steps.c its components. */
#ifndef PHY_MODEL_TOKENIZER_LOAD_H
#define PHY_MODEL_TOKENIZER_LOAD_H

#include "model/tokenizer_dom.h"
#include "model/tokenizer_parts.h"

struct phy_merge_text {
    const char *left, *right;
    uint32_t left_bytes, right_bytes;
};

/* Texts point into the scan's. */
struct phy_tokenizer_loader {
    struct phy_tokenizer *t;
    struct phy_json_scan scan;
    struct phy_dom dom;
    struct phy_merge_text *merges;
    size_t merge_count, merge_capacity;
    bool has_template;
};

/* ---- reading values of l->dom; `where` is "normalizer Replace" or the like ---- */

/* The value of a key. Missing: *node is PHY_DOM_NONE, an error only when `required`; null counts as missing. */
enum phy_status phy_load_get(struct phy_tokenizer_loader *l, uint32_t object, const char *where, const char *key,
                             bool required, uint32_t *node);
/* A missing value leaves *out alone, unless it is required. */
enum phy_status phy_load_bool(struct phy_tokenizer_loader *l, uint32_t object, const char *where, const char *key,
                              bool required, bool *out);
enum phy_status phy_load_text(struct phy_tokenizer_loader *l, uint32_t object, const char *where, const char *key,
                              bool required, const char **text, size_t *bytes);
enum phy_status phy_load_number(struct phy_tokenizer_loader *l, uint32_t object, const char *where, const char *key,
                                uint64_t *out);
/* An id: 0 .. PHY_TOKEN_ID_MAX. */
enum phy_status phy_load_id(struct phy_tokenizer_loader *l, uint32_t node, const char *where, uint32_t *out);

/* ---- components: the tree's root is the component ---- */

enum phy_status phy_load_normalizer(struct phy_tokenizer_loader *l);
enum phy_status phy_load_pre_tokenizer(struct phy_tokenizer_loader *l);
enum phy_status phy_load_post_processor(struct phy_tokenizer_loader *l);
enum phy_status phy_load_decoder(struct phy_tokenizer_loader *l);

#endif
