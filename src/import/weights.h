/* SPDX-License-Identifier: Apache-2.0 */
/* Weights of the output: which file holds which tensor, and their bytes. */
#ifndef PHY_IMPORT_WEIGHTS_H
#define PHY_IMPORT_WEIGHTS_H

#include "import/import_model.h"
#include "surgery/output_dir.h"

struct import_layout {
    uint32_t shard_count;
    uint64_t weight_bytes, element_count;
};

/* Give every tensor its shard and position: in order, a new file before a tensor that would make one larger than
 * shard_bytes. */
enum phy_status phy_import_lay_out(struct import_model *model, uint64_t shard_bytes, struct import_layout *out);
/* "model.safetensors", or "model-00001-of-00003.safetensors". */
enum { IMPORT_FILE_BYTES = 64 };
void phy_import_shard_name(const struct import_layout *layout, uint32_t shard, char out[IMPORT_FILE_BYTES]);
/* Write all weight files, fsynced, and the index if there are several. Memory: 16 MiB and one header.
 *   PHY_ERR_IO, PHY_ERR_MEMORY, PHY_ERR_INTERRUPTED */
enum phy_status phy_import_write_weights(const struct import_model *model, const struct import_layout *layout,
                                         const struct phy_output *output);
/* Write a small file at once, fsynced. PHY_ERR_IO. */
enum phy_status phy_import_write_text(const struct phy_output *output, const char *name, const char *text);

#endif
