/* SPDX-License-Identifier: Apache-2.0 */
/* JSON to a descriptor, front to back through a small buffer: for files that are too large to hold as a tree, and for
 * text that may hold U+0000. Commas and line breaks are the writer's business; that brackets match is the caller's. */
#ifndef PHY_BASE_JSON_WRITE_H
#define PHY_BASE_JSON_WRITE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct phy_json_writer {
    int fd;
    int error;       /* first errno value; later calls do nothing */
    bool indent;     /* two spaces a level, one member a line */
    bool after_item; /* the next item needs a comma */
    bool after_key;
    unsigned depth;
    size_t used;
    char buffer[65536];
};

/* Writes at the descriptor's position. */
void phy_jsonw_start(struct phy_json_writer *json, int fd, bool indent);
/* Write what is buffered. Returns 0 or the first errno value. */
int phy_jsonw_finish(struct phy_json_writer *json);

/* '{' or '['; then its '}' or ']'. */
void phy_jsonw_open(struct phy_json_writer *json, char bracket);
void phy_jsonw_close(struct phy_json_writer *json, char bracket);
/* The name of the next member; bytes of valid UTF-8. */
void phy_jsonw_key(struct phy_json_writer *json, const char *name, size_t bytes);
/* Valid UTF-8, U+0000 included. Control characters, quotes and backslashes are escaped. */
void phy_jsonw_string(struct phy_json_writer *json, const char *text, size_t bytes);
void phy_jsonw_u64(struct phy_json_writer *json, uint64_t value);
/* A value that is JSON already: true, null, a number. */
void phy_jsonw_raw(struct phy_json_writer *json, const char *text);

/* name and value of a member at once. */
void phy_jsonw_member_text(struct phy_json_writer *json, const char *name, const char *text);
void phy_jsonw_member_raw(struct phy_json_writer *json, const char *name, const char *raw);
void phy_jsonw_member_bool(struct phy_json_writer *json, const char *name, bool value);
void phy_jsonw_member_open(struct phy_json_writer *json, const char *name, char bracket);

enum { PHY_JSON_NUMBER_BYTES = 40 };
/* The shortest decimal text that reads back as exactly this finite double, with ".0" if it would look like an integer;
 * the same in every locale. Returns out. */
const char *phy_jsonw_double(char out[PHY_JSON_NUMBER_BYTES], double value);

#endif
