/* SPDX-License-Identifier: Apache-2.0 */
/* Inside of an open checkpoint, for the files that make one: checkpoint.c, checkpoint_index.c, sidecars.c. */
#ifndef PHY_FORMAT_CHECKPOINT_PARTS_H
#define PHY_FORMAT_CHECKPOINT_PARTS_H

#include <limits.h>
#include <sys/stat.h>

#include "format/checkpoint_files.h"
#include "format/tensor_table.h"

#define PHY_INDEX_NAME "model.safetensors.index.json"
#define PHY_SINGLE_NAME "model.safetensors"

/* What makes a file the same one that was checked. */
struct phy_file_id {
    uint64_t device, inode, bytes;
    int64_t mtime_ns;
};

struct phy_shard {
    char *name; /* inside the directory */
    int fd;     /* -1 until opened */
    struct phy_file_id id;
    struct phy_tensor_table table;
    size_t tensor_begin; /* of all the checkpoint's tensors */
};

struct phy_sidecar_entry {
    char *path;
    bool is_directory;
    struct phy_file_id id;
};

struct phy_checkpoint {
    char *path;  /* as given */
    char *label; /* the path for messages: as given, or its end when it is long */
    const struct phy_host *host;
    bool follow_symlinks, is_directory, has_index;
    enum phy_container container;
    int dir_fd; /* the directory, or the one that holds the file */
    struct phy_shard *shards;
    size_t shard_count, shard_capacity;
    size_t tensor_count;
    struct phy_sidecar_entry *sidecars;
    size_t sidecar_count, sidecar_capacity;
};

struct phy_file_id phy_file_id_of(const struct stat *status);
bool phy_file_id_equal(const struct phy_file_id *a, const struct phy_file_id *b);

/* Open a weight file or the index by rule I5: links are followed, a pipe does not block, and what is open is a regular
 * file. `label` names it in messages.
 *   PHY_ERR_FORMAT  missing, or not a regular file
 *   PHY_ERR_IO      unreadable */
enum phy_status phy_open_regular(int *fd, struct phy_file_id *id, int dir_fd, const char *name, const char *label,
                                 const struct phy_host *host);
/* True if the directory holds an entry of that name, be it a link that leads nowhere. */
bool phy_entry_exists(int dir_fd, const char *name);

/* Add a shard by name, not yet opened. */
enum phy_status phy_checkpoint_add_shard(struct phy_checkpoint *cp, const char *name, size_t name_bytes);
/* Open and check the shards that were added, in name order. */
enum phy_status phy_checkpoint_open_shards(struct phy_checkpoint *cp);

/* The table of a GGUF file, by the G rules. */
enum phy_status phy_checkpoint_read_gguf(struct phy_tensor_table *out, int fd, uint64_t file_bytes, const char *file,
                                         const struct phy_host *host);

/* Read the index, open the shards that it names, and hold the two against each other: rules I1-I8. */
enum phy_status phy_checkpoint_open_by_index(struct phy_checkpoint *cp);
/* Rule I1's end: the directory holds neither file; says what it holds instead. Never PHY_OK. */
enum phy_status phy_checkpoint_explain_no_weights(const struct phy_checkpoint *cp);
/* Rules I9, I10 and W4: what else is in the directory. The shards' names are known. */
enum phy_status phy_checkpoint_find_sidecars(struct phy_checkpoint *cp);

#endif
