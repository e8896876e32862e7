/* SPDX-License-Identifier: Apache-2.0 */
/* Column scales for activation-aware food (docs/tile-flow.md): one F32 vector for each target, named as the weight. */
#ifndef PHY_SURGERY_CALIBRATION_H
#define PHY_SURGERY_CALIBRATION_H

#include <stddef.h>
#include <stdint.h>

#include "physarium/targets.h"

struct phy_calibration {
    struct phy_checkpoint *file;
    size_t *vectors; /* (targets) tensor index in the file */
    char *name;      /* last part of its path */
    char digest[17]; /* XXH3-64 of the whole file, hex */
};

/* Open and check: every target has a vector, of its number of columns, of values that are finite and not negative. A
 * `model_digest` in __metadata__ that is not `donor_digest` (NULL: not compared) is a warning.
 *   PHY_ERR_FORMAT  a vector is missing or wrong, and the errors of phy_checkpoint_open */
enum phy_status phy_calibration_open(struct phy_calibration *out, const char *path, const struct phy_checkpoint *donor,
                                     const struct phy_target_list *targets, const char *donor_digest,
                                     const struct phy_host *host);
void phy_calibration_close(struct phy_calibration *calibration);

/* Scales of `count` columns of a target from `col` on. Any thread. */
enum phy_status phy_calibration_read(const struct phy_calibration *calibration, size_t target, uint64_t col,
                                     uint64_t count, float *out);

#endif
