/* SPDX-License-Identifier: Apache-2.0 */
#include "surgery/output_hash.h"

#include <xxhash.h>

#include "base/alloc.h"
#include "base/checked_math.h"
#include "base/io.h"
#include "base/log.h"

enum { CHUNK_BYTES = 1 << 20 };

struct phy_output_hash {
    const struct phy_checkpoint *checkpoint;
    struct phy_results *results;
    XXH3_state_t *file, *tensor;
    unsigned char *chunk;
    uint64_t at;
    size_t next_tensor, tensor_end; /* of this shard */
};

enum phy_status phy_output_hash_open(struct phy_output_hash **out, const struct phy_checkpoint *checkpoint,
                                     struct phy_results *results, const struct phy_host *host)
{
    struct phy_output_hash *hash = *out = phy_zalloc(1, sizeof *hash);
    if (hash) {
        hash->checkpoint = checkpoint;
        hash->results = results;
        hash->file = XXH3_createState();
        hash->tensor = XXH3_createState();
        hash->chunk = phy_alloc(CHUNK_BYTES, 1);
    }
    if (hash && hash->file && hash->tensor && hash->chunk)
        return PHY_OK;
    phy_output_hash_close(out);
    return phy_fail_memory(host, "hashing", CHUNK_BYTES);
}

void phy_output_hash_close(struct phy_output_hash **hash)
{
    if (!*hash)
        return;
    XXH3_freeState((*hash)->file);
    XXH3_freeState((*hash)->tensor);
    phy_free((*hash)->chunk);
    phy_free(*hash);
    *hash = NULL;
}

/* Tensors that end at `at`: the one that was fed, and empty ones that follow it. */
static void finish_tensors(struct phy_output_hash *hash)
{
    struct phy_tensor_info info;
    while (hash->next_tensor < hash->tensor_end) {
        phy_checkpoint_tensor(hash->checkpoint, hash->next_tensor, &info);
        if (info.at + info.bytes != hash->at)
            return;
        hash->results->tensors[hash->next_tensor].xxh3 = XXH3_64bits_digest(hash->tensor);
        phy_results_touch(hash->results, hash->next_tensor++);
        XXH3_64bits_reset(hash->tensor);
    }
}

void phy_output_hash_start(struct phy_output_hash *hash, size_t shard)
{
    struct phy_shard_info info;
    phy_checkpoint_shard(hash->checkpoint, shard, &info);
    hash->at = 0;
    hash->next_tensor = info.tensor_begin;
    hash->tensor_end = info.tensor_end;
    XXH3_64bits_reset(hash->file);
    XXH3_64bits_reset(hash->tensor);
}

void phy_output_hash_feed(struct phy_output_hash *hash, const void *data, size_t bytes)
{
    const unsigned char *from = data;
    struct phy_tensor_info info;
    XXH3_64bits_update(hash->file, data, bytes);
    while (bytes > 0) {
        size_t take = bytes;
        bool inside = false;
        if (hash->next_tensor < hash->tensor_end) {
            phy_checkpoint_tensor(hash->checkpoint, hash->next_tensor, &info);
            inside = hash->at >= info.at;
            uint64_t edge = inside ? info.at + info.bytes : info.at;
            take = (size_t)phy_min_u64(take, edge - hash->at);
        }
        if (inside)
            XXH3_64bits_update(hash->tensor, from, take);
        hash->at += take;
        from += take;
        bytes -= take;
        finish_tensors(hash);
    }
}

uint64_t phy_output_hash_digest(const struct phy_output_hash *hash)
{
    return XXH3_64bits_digest(hash->file);
}

int phy_output_hash_feed_file(struct phy_output_hash *hash, int fd, uint64_t at, uint64_t end)
{
    while (at < end) {
        size_t bytes = (size_t)phy_min_u64(end - at, CHUNK_BYTES);
        int error = phy_pread_all(fd, hash->chunk, bytes, at);
        if (error)
            return error;
        phy_output_hash_feed(hash, hash->chunk, bytes);
        at += bytes;
    }
    return 0;
}
