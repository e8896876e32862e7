/* SPDX-License-Identifier: Apache-2.0 */
#include "surgery/donor_digest.h"

#include <stdio.h>
#include <xxhash.h>

#include "base/alloc.h"
#include "base/checked_math.h"
#include "base/log.h"

enum { CHUNK_BYTES = 1 << 20 };

enum phy_status phy_donor_digest(const struct phy_checkpoint *donor, char digest[17], uint64_t *header_xxh3,
                                 const struct phy_host *host)
{
    XXH3_state_t *all = XXH3_createState(), *one = XXH3_createState();
    unsigned char *chunk = phy_alloc(CHUNK_BYTES, 1), size[8];
    enum phy_status status = all && one && chunk ? PHY_OK : phy_fail_memory(host, "digests", CHUNK_BYTES);
    if (status == PHY_OK)
        XXH3_64bits_reset(all);
    for (size_t i = 0; status == PHY_OK && i < phy_checkpoint_shard_count(donor); i++) {
        struct phy_shard_info shard;
        phy_checkpoint_shard(donor, i, &shard);
        phy_store_u64(size, shard.file_bytes);
        XXH3_64bits_update(all, size, sizeof size);
        XXH3_64bits_reset(one);
        for (uint64_t at = 0; status == PHY_OK && at < shard.header_bytes;) {
            size_t bytes = (size_t)phy_min_u64(shard.header_bytes - at, CHUNK_BYTES);
            status = phy_checkpoint_read(donor, i, at, chunk, bytes);
            if (status != PHY_OK)
                break;
            XXH3_64bits_update(all, chunk, bytes);
            XXH3_64bits_update(one, chunk, bytes);
            at += bytes;
        }
        if (header_xxh3)
            header_xxh3[i] = XXH3_64bits_digest(one);
    }
    if (status == PHY_OK)
        snprintf(digest, 17, "%016llx", (unsigned long long)XXH3_64bits_digest(all));
    phy_free(chunk);
    XXH3_freeState(all);
    XXH3_freeState(one);
    return status;
}
