/* SPDX-License-Identifier: Apache-2.0 */
/* What the domain needs of an open checkpoint beyond the public header: descriptors, identity, sidecars. */
#ifndef PHY_FORMAT_CHECKPOINT_FILES_H
#define PHY_FORMAT_CHECKPOINT_FILES_H

#include "physarium/checkpoint.h"

/* The path as it was given to phy_checkpoint_open. */
const char *phy_checkpoint_path(const struct phy_checkpoint *checkpoint);
/* Descriptor of a weight file, read-only; belongs to the checkpoint. */
int phy_checkpoint_shard_fd(const struct phy_checkpoint *checkpoint, size_t shard);
/* Modification time seen at open, in ns since the epoch. */
int64_t phy_checkpoint_shard_mtime_ns(const struct phy_checkpoint *checkpoint, size_t shard);

/* Everything in the directory that is copied as it is (rules I9, I10, W4): the index, config and tokenizer files,
 * subfolders, unnamed safetensors files; not the shards. A folder comes before what it holds. Empty for a single file.
 */
struct phy_sidecar {
    const char *path; /* relative to the directory, '/'-separated */
    bool is_directory;
    uint64_t bytes; /* size seen at open; 0 for a folder */
};
size_t phy_checkpoint_sidecar_count(const struct phy_checkpoint *checkpoint);
void phy_checkpoint_sidecar(const struct phy_checkpoint *checkpoint, size_t index, struct phy_sidecar *out);
/* Open a sidecar file for reading (O_NONBLOCK | O_CLOEXEC, a regular file by fstat); the descriptor is the caller's.
 *   PHY_ERR_IO  gone or unreadable */
enum phy_status phy_checkpoint_sidecar_open(const struct phy_checkpoint *checkpoint, size_t index, int *fd);

#endif
