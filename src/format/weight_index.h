/* SPDX-License-Identifier: Apache-2.0 */
/* model.safetensors.index.json as a checked table: rules I2, I3, I4 and I8 of docs/checkpoint-rules.md. */
#ifndef PHY_FORMAT_WEIGHT_INDEX_H
#define PHY_FORMAT_WEIGHT_INDEX_H

#include "format/json_scan.h"
#include "format/name_set.h"
#include "physarium/host.h"

enum { PHY_INDEX_MAX_BYTES = 100000000, PHY_INDEX_DEPTH = 64 };

struct phy_mapping {
    const char *tensor; /* decoded; may hold U+0000 */
    uint32_t tensor_bytes;
    uint32_t shard; /* index into shards.names */
};

struct phy_weight_index {
    char *text;               /* what all names point into */
    struct phy_mapping *maps; /* (count) in the file's order */
    size_t count, capacity;
    struct phy_name_set shards;       /* each shard named, once, in the order of first mention; plain file names */
    struct phy_json_token total_size; /* metadata's total_size; PHY_JSON_END when there is none */
};

/* Parse the index, called `file` in messages. `text` (bytes, and room for one more) comes from phy_alloc and is the
 * function's from now on. On success the index is the caller's: phy_weight_index_free; after a failure it is empty.
 *   PHY_ERR_FORMAT  a rule is broken
 *   PHY_ERR_LIMIT   unknown keys nest too deep
 *   PHY_ERR_MEMORY  host allocation failed */
enum phy_status phy_weight_index_parse(struct phy_weight_index *out, char *text, size_t bytes, const char *file,
                                       const struct phy_host *host);
void phy_weight_index_free(struct phy_weight_index *index);

#endif
