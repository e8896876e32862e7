/* SPDX-License-Identifier: Apache-2.0 */
/* safetensors headers: bytes that may hold anything to a checked table, by rules S1-S15 of docs/checkpoint-rules.md. */
#ifndef PHY_FORMAT_SAFETENSORS_H
#define PHY_FORMAT_SAFETENSORS_H

#include "format/tensor_table.h"
#include "physarium/host.h"

enum { PHY_SAFETENSORS_MAX_HEADER = 100000000, PHY_SAFETENSORS_MAX_DIMS = 16 };

/* The file, for messages, is called `file`. On success the table is the caller's: phy_tensor_table_free; after a
 * failure it is empty.
 *   PHY_ERR_FORMAT       a rule is broken
 *   PHY_ERR_UNSUPPORTED  a dtype that we do not know
 *   PHY_ERR_LIMIT        more than 16 dimensions
 *   PHY_ERR_MEMORY       host allocation failed
 *   PHY_ERR_IO           (read) the file could not be read, or shrank */
enum phy_status phy_safetensors_read(struct phy_tensor_table *out, int fd, uint64_t file_bytes, const char *file,
                                     const struct phy_host *host);
/* The same from memory: `bytes` holds the file's first `have` bytes, at least the header if the file has one. */
enum phy_status phy_safetensors_parse(struct phy_tensor_table *out, const void *bytes, size_t have, uint64_t file_bytes,
                                      const char *file, const struct phy_host *host);

/* Rule S14: what a file with this beginning is, if it is something known that is not safetensors or JSON; or NULL. */
const char *phy_foreign_format(const char *prefix, size_t have);

#endif
