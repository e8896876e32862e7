/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PHYSARIUM_CHECKPOINT_H
#define PHYSARIUM_CHECKPOINT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "host.h"
#include "status.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A checked, opened checkpoint: a directory of safetensors, one safetensors file, or one GGUF file. */
struct phy_checkpoint;

enum phy_container { PHY_CONTAINER_SAFETENSORS, PHY_CONTAINER_GGUF };

struct phy_checkpoint_params {
    const struct phy_host *host; /* may be NULL; must outlive the checkpoint */
    bool follow_symlinks;        /* allow sidecar links to targets outside the donor */
};

/* One weight file. `name` is the file's name inside the directory, or the last part of the path that was given. */
struct phy_shard_info {
    const char *name;
    uint64_t file_bytes;
    uint64_t header_bytes;           /* bytes before the data section: 8 + N for safetensors */
    size_t tensor_begin, tensor_end; /* its tensors, in data order */
    bool has_metadata_format_pt;     /* __metadata__ holds "format": "pt" */
};

/* One tensor. Pointers are valid until the checkpoint is closed. */
struct phy_tensor_info {
    const char *name; /* UTF-8, NUL-terminated, no U+0000 inside; raw: escape before printing */
    size_t name_bytes;
    const char *dtype;     /* as the format names it: "BF16", "F32", "Q4_K" ... */
    uint32_t element_bits; /* safetensors dtypes; 0 for block-quantised GGUF types */
    uint32_t dim_count;
    const uint64_t *shape; /* (dim_count) as the file has it: safetensors slowest first, GGUF fastest first */
    uint64_t at;           /* absolute byte position in its file; need not be aligned */
    uint64_t bytes;
    uint32_t shard;        /* index of its file */
    uint32_t header_index; /* position in the file's own header, from 0: what messages number it by */
};

/* Open and check `path` by every rule of docs/checkpoint-rules.md (S, I and G), without reading tensor data.
 * On success *out is the caller's: phy_checkpoint_close(&cp). *out is NULL on failure.
 *
 *   PHY_ERR_IO           the path is absent or unreadable
 *   PHY_ERR_FORMAT       a rule is broken
 *   PHY_ERR_UNSUPPORTED  unknown dtype, GGUF version or type, pickle-only directory
 *   PHY_ERR_LIMIT        more dimensions, nesting or header than we read
 *   PHY_ERR_MEMORY       host allocation failed
 *
 * Thread-safety: an open checkpoint may be read by many threads at a time. */
PHY_API enum phy_status phy_checkpoint_open(struct phy_checkpoint **out, const char *path,
                                            const struct phy_checkpoint_params *params);
/* Close and set to NULL; accepts a pointer to NULL. */
PHY_API void phy_checkpoint_close(struct phy_checkpoint **checkpoint);

PHY_API enum phy_container phy_checkpoint_container(const struct phy_checkpoint *checkpoint);
/* True for a directory, false for a single file. */
PHY_API bool phy_checkpoint_is_directory(const struct phy_checkpoint *checkpoint);
/* True when model.safetensors.index.json decides which shards there are. */
PHY_API bool phy_checkpoint_has_index(const struct phy_checkpoint *checkpoint);

/* Shards in name order. shard < count. */
PHY_API size_t phy_checkpoint_shard_count(const struct phy_checkpoint *checkpoint);
PHY_API void phy_checkpoint_shard(const struct phy_checkpoint *checkpoint, size_t shard, struct phy_shard_info *out);

/* Tensors in data order: shards in name order, then by position. index < count. */
PHY_API size_t phy_checkpoint_tensor_count(const struct phy_checkpoint *checkpoint);
PHY_API void phy_checkpoint_tensor(const struct phy_checkpoint *checkpoint, size_t index, struct phy_tensor_info *out);

/* Read `bytes` bytes at `at` of a shard into `buffer`; short reads are an error. The file is read through the
 * descriptor that was checked at open.
 *   PHY_ERR_IO  read error, or the file has shrunk (the log names the file)
 * Thread-safety: any number of threads. */
PHY_API enum phy_status phy_checkpoint_read(const struct phy_checkpoint *checkpoint, size_t shard, uint64_t at,
                                            void *buffer, size_t bytes);

/* Compare every weight file, by descriptor and by path, with what was seen at open: size, mtime, inode.
 *   PHY_ERR_IO  one of them changed (the log names it) */
PHY_API enum phy_status phy_checkpoint_unchanged(const struct phy_checkpoint *checkpoint);

/* Before long work: whether a file may be written at `path` by one who reads `inputs` (count; a NULL or "-" is none).
 * No input may be that file or a directory that it lies in, and its own directory must be there.
 *   PHY_ERR_USAGE   it may not
 *   PHY_ERR_IO      it may, but not even a small file can be written there now
 *   PHY_ERR_MEMORY  host allocation failed */
PHY_API enum phy_status phy_output_file_check(const char *path, const char *const *inputs, size_t count,
                                              const struct phy_host *host);

/* All that one command writes. NULLs in the lists are none. */
struct phy_output_files {
    const char *const *paths;
    size_t count;
    const char *const *directories; /* made before the files, where they are not there; paths may lie in them */
    size_t directory_count;
    const char *const *inputs; /* as of phy_output_file_check */
    size_t input_count;
    const struct phy_host *host;
};
/* As phy_output_file_check for each of them; and no two may be one file, unless it is a device or a pipe, which gets
 * both. */
PHY_API enum phy_status phy_output_files_check(const struct phy_output_files *files);

/* Room for a name that phy_quote_name has written. */
enum { PHY_QUOTED_NAME_BYTES = 128 * 6 + 64 };
/* Write a name from a file for people to see: in double quotes, control and bidirectional characters and bytes that are
 * not UTF-8 escaped, over 128 bytes cut and counted. Returns out. Thread-safe. */
PHY_API const char *phy_quote_name(char out[PHY_QUOTED_NAME_BYTES], const char *name, size_t name_bytes);

#ifdef __cplusplus
}
#endif
#endif
