/* SPDX-License-Identifier: Apache-2.0 */
/* RFC 8259 to the letter, front to back, without a tree: rules S2 and S3 of docs/checkpoint-rules.md. */
#ifndef PHY_FORMAT_JSON_SCAN_H
#define PHY_FORMAT_JSON_SCAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum phy_json_kind {
    PHY_JSON_ERROR, /* text is not JSON: token.at is the byte, token.text says what is wrong, and it stays so */
    PHY_JSON_OBJECT,
    PHY_JSON_OBJECT_END,
    PHY_JSON_ARRAY,
    PHY_JSON_ARRAY_END,
    PHY_JSON_KEY, /* with its colon */
    PHY_JSON_STRING,
    PHY_JSON_NUMBER,
    PHY_JSON_TRUE,
    PHY_JSON_FALSE,
    PHY_JSON_NULL,
    PHY_JSON_END, /* of the text: one whole value came before */
};

/* Nesting that a scan follows; deeper is an error whose token has `too_deep`. The nesting is a bit set, not a stack. */
enum { PHY_JSON_DEPTH = 128 };

struct phy_json_token {
    enum phy_json_kind kind;
    bool too_deep;
    size_t at;        /* byte position of its first character */
    const char *text; /* key and string: decoded, followed by a NUL; number: as written, not NUL-terminated */
    size_t bytes;
};

struct phy_json_scan {
    char *text;
    size_t bytes, at;
    unsigned depth;
    uint64_t is_object[PHY_JSON_DEPTH / 64]; /* bit d: what is open at depth d is an object */
    int expect;
};

/* Position of the first byte of `text` that is not well-formed UTF-8; `bytes` when all are. */
size_t phy_json_utf8_end(const char *text, size_t bytes);

/* Start at the first byte. The text is the scan's to change (strings are decoded in place, where tokens point) and must
 * be valid UTF-8: phy_json_utf8_end. */
void phy_json_begin(struct phy_json_scan *scan, char *text, size_t bytes);
/* The next token; returns token->kind. */
enum phy_json_kind phy_json_next(struct phy_json_scan *scan, struct phy_json_token *token);

/* "an array", "a number" ...: what stands there, for messages. */
const char *phy_json_kind_name(enum phy_json_kind kind);
/* Rule S8: 0|[1-9][0-9]* and at most 2^53 - 1. */
bool phy_json_whole_number(const struct phy_json_token *token, uint64_t *out);
/* The token is the string or key `text`. */
bool phy_json_is(const struct phy_json_token *token, const char *text);

#endif
