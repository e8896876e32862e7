/* SPDX-License-Identifier: Apache-2.0 */
/* Bytes that grow, characters of text that is known to be valid UTF-8, and the classes of characters that tokenizers
 * ask about. */
#ifndef PHY_MODEL_TOKENIZER_TEXT_H
#define PHY_MODEL_TOKENIZER_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* A zeroed struct is empty. */
struct phy_octets {
    char *data;
    size_t count, capacity;
};

/* Room for `need` bytes altogether. False: no memory, nothing has changed. */
bool phy_octets_reserve(struct phy_octets *bytes, size_t need);
void phy_octets_free(struct phy_octets *bytes);

static inline bool phy_octets_put(struct phy_octets *bytes, const char *from, size_t count)
{
    if (bytes->capacity - bytes->count < count && !phy_octets_reserve(bytes, bytes->count + count))
        return false;
    if (count)
        memcpy(bytes->data + bytes->count, from, count);
    bytes->count += count;
    return true;
}

/* Ids that grow. */
struct phy_ids {
    uint32_t *data;
    size_t count, capacity;
};

bool phy_ids_reserve(struct phy_ids *ids, size_t need);
void phy_ids_free(struct phy_ids *ids);

static inline bool phy_ids_put(struct phy_ids *ids, uint32_t id)
{
    if (ids->count == ids->capacity && !phy_ids_reserve(ids, ids->count + 1))
        return false;
    ids->data[ids->count++] = id;
    return true;
}

/* The character at `at`, of valid UTF-8; returns its bytes. */
static inline size_t phy_next_char(const char *at, uint32_t *code)
{
    const unsigned char *s = (const unsigned char *)at;
    if (s[0] < 0x80) {
        *code = s[0];
        return 1;
    }
    if (s[0] < 0xE0) {
        *code = (s[0] & 0x1Fu) << 6 | (s[1] & 0x3Fu);
        return 2;
    }
    if (s[0] < 0xF0) {
        *code = (s[0] & 0x0Fu) << 12 | (s[1] & 0x3Fu) << 6 | (s[2] & 0x3Fu);
        return 3;
    }
    *code = (s[0] & 0x07u) << 18 | (s[1] & 0x3Fu) << 12 | (s[2] & 0x3Fu) << 6 | (s[3] & 0x3Fu);
    return 4;
}

/* The character that ends at text + bytes, of valid UTF-8; bytes >= 1. */
size_t phy_last_char(const char *text, size_t bytes, uint32_t *code);
/* Writes 1 to 4 bytes. */
size_t phy_put_char(char to[4], uint32_t code);

/* Unicode's White_Space. */
bool phy_is_white_space(uint32_t code);
/* General category Nd, Nl or No. */
bool phy_is_numeric(uint32_t code);
/* What \w is to Rust's regular expressions: Alphabetic, M, Nd, Pc, Join_Control. */
bool phy_is_word(uint32_t code);

/* Append `text` as Rust's String::from_utf8_lossy makes it: U+FFFD for each maximal subpart that is not UTF-8. */
bool phy_put_lossy(struct phy_octets *to, const char *text, size_t bytes);

#endif
