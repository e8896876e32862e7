/* SPDX-License-Identifier: Apache-2.0 */
/* What a run is: donor, options that decide the bytes, and our version, as lines of text that can be compared.
 *
 *   {
 *   "version": "0.1.0",
 *   "shard model.safetensors": "bytes 512, modified 1700000000000000000, header 0123456789abcdef",
 *   "gain": "5",
 *   ...
 *   }
 *
 * It is the journal's first record and OUT/physarium/run.json. Device, threads and memory are not in it: they do not
 * change the output, and a run may go on elsewhere after a device was lost. */
#ifndef PHY_SURGERY_IDENTITY_H
#define PHY_SURGERY_IDENTITY_H

#include "physarium/surgery.h"
#include "surgery/bytes.h"
#include "surgery/rank_method.h"

struct phy_identity_params {
    const struct phy_checkpoint *donor;
    const struct phy_surgery_params *surgery; /* defaults filled in */
    const uint64_t *header_xxh3;              /* (shards) */
    const struct phy_rank_method *rank;       /* of the run */
    const char *calibration_digest;           /* or NULL */
};

/* Terminated text; text->failed when memory ran out. */
void phy_identity_write(struct phy_bytes *text, const struct phy_identity_params *params);

/* Write to `out` how they differ, "gain is 5 there and 4 here", and return true; false when they are the same. Both are
 * terminated. */
bool phy_identity_differs(const char *there, const char *here, char *out, size_t capacity);

#endif
