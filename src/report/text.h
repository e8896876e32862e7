/* SPDX-License-Identifier: Apache-2.0 */
/* A growing text, with what each kind of report needs to put strangers' names into it. */
#ifndef PHY_REPORT_TEXT_H
#define PHY_REPORT_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Zero-initialised is empty. After a failed allocation every put is ignored, so that only the end looks at `failed`. */
struct phy_text {
    char *data; /* NUL-terminated once anything was put */
    size_t bytes, capacity;
    bool failed;
};

void phy_text_free(struct phy_text *text);
void phy_text_bytes(struct phy_text *text, const char *data, size_t bytes);
void phy_text_put(struct phy_text *text, const char *string);
void phy_text_printf(struct phy_text *text, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* 1234567 as 1,234,567. */
void phy_text_count(struct phy_text *text, uint64_t value);
/* With `decimals` (0..9) digits after the point, a point whatever the locale; "-" for what is not finite or 1e18 and
 * more. */
void phy_text_decimal(struct phy_text *text, double value, int decimals);

/* As decimal, with up to 9 digits after the point and no zeros at the end. */
void phy_text_number(struct phy_text *text, double value);

/* A name from a file, escaped and cut by rule E3 (docs/checkpoint-rules.md), in the quotes of that rule or without
 * them, or a whole line of text that is only escaped; then by the rules of HTML text and attributes, or of a Markdown
 * table cell. NULL is the empty name. */
enum phy_name_style { PHY_NAME_QUOTED, PHY_NAME_BARE, PHY_NAME_LINE };
void phy_text_html_name(struct phy_text *text, const char *name, enum phy_name_style style);
void phy_text_markdown_name(struct phy_text *text, const char *name, enum phy_name_style style);
/* For a terminal: only the escapes of E3. */
void phy_text_plain_name(struct phy_text *text, const char *name, enum phy_name_style style);
/* A JSON string: whole, not cut. What E3 escapes is written as \uXXXX, so that a reader gets the exact name and a
 * terminal does not; a byte that is not UTF-8, which JSON cannot hold, becomes the four characters \xNN. */
void phy_text_json_string(struct phy_text *text, const char *string, size_t bytes);

#endif
