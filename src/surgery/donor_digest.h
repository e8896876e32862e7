/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PHY_SURGERY_DONOR_DIGEST_H
#define PHY_SURGERY_DONOR_DIGEST_H

#include <stdint.h>

#include "physarium/checkpoint.h"

/* XXH3-64 over every shard's size (8 bytes, little-endian) and header, in shard order, as 16 hex digits and a NUL:
 * which model a calibration or a report speaks of. header_xxh3 (shards) receives each header's own, unless it is NULL.
 */
enum phy_status phy_donor_digest(const struct phy_checkpoint *donor, char digest[17], uint64_t *header_xxh3,
                                 const struct phy_host *host);

#endif
