/* SPDX-License-Identifier: Apache-2.0 */
/* XXH3 of a shard's output and of each tensor in it, fed with the shard's bytes in order. */
#ifndef PHY_SURGERY_OUTPUT_HASH_H
#define PHY_SURGERY_OUTPUT_HASH_H

#include "physarium/checkpoint.h"
#include "surgery/results.h"

struct phy_output_hash; /* opaque */

enum phy_status phy_output_hash_open(struct phy_output_hash **out, const struct phy_checkpoint *checkpoint,
                                     struct phy_results *results, const struct phy_host *host);
void phy_output_hash_close(struct phy_output_hash **hash);
/* Begin a shard at its first byte. */
void phy_output_hash_start(struct phy_output_hash *hash, size_t shard);
/* The next bytes of the shard. Tensors that end here have their hash put into the results. */
void phy_output_hash_feed(struct phy_output_hash *hash, const void *data, size_t bytes);
/* Of everything fed since the start of the shard. */
uint64_t phy_output_hash_digest(const struct phy_output_hash *hash);
/* Feed what a file holds from `at` to `end`. Returns 0 or an errno value. */
int phy_output_hash_feed_file(struct phy_output_hash *hash, int fd, uint64_t at, uint64_t end);

#endif
