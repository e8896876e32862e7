/* SPDX-License-Identifier: Apache-2.0 */
/* Globs over whole tensor names. */
#ifndef PHY_SURGERY_GLOB_H
#define PHY_SURGERY_GLOB_H

#include <stdbool.h>
#include <stddef.h>

/* True if all of `text` matches `pattern`, byte by byte: `*` is any run of bytes (dots too), `?` one byte, `[abc]`,
 * `[a-z]` and
 * `[!a-z]` (or `[^a-z]`) one byte of a set, where `]` first in the set stands for itself. A `[` that is never closed is
 * a plain `[`. Time is at most (pattern bytes) x (text bytes) whatever the pattern; no recursion. */
bool phy_glob_match(const char *pattern, const char *text, size_t text_bytes);

#endif
