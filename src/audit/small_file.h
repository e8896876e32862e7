/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PHY_AUDIT_SMALL_FILE_H
#define PHY_AUDIT_SMALL_FILE_H

#include <stddef.h>

/* The whole of a regular file of at most max_bytes, followed by a NUL: phy_free(*text). Returns 0 or an errno value
 * (EFBIG: longer; ESPIPE, EISDIR: no regular file) with *text NULL. *bytes may be NULL. */
int phy_read_small_file(const char *path, size_t max_bytes, char **text, size_t *bytes);

/* One that the user named, who may have a pipe there ("-": standard input): read to its end. */
int phy_read_named_file(const char *path, size_t max_bytes, char **text, size_t *bytes);

#endif
