/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PHY_SURGERY_SIDECARS_H
#define PHY_SURGERY_SIDECARS_H

#include "physarium/checkpoint.h"
#include "surgery/output_dir.h"

/* Bytes that phy_sidecars_copy will write. */
uint64_t phy_sidecars_bytes(const struct phy_checkpoint *checkpoint);

/* Copy every sidecar of an open checkpoint into the partial directory, byte for byte, each file and folder fsynced.
 *   PHY_ERR_IO           a write that failed, or a sidecar that changed while it was read
 *   PHY_ERR_INTERRUPTED  the host asked to stop (no line is logged) */
enum phy_status phy_sidecars_copy(const struct phy_checkpoint *checkpoint, const struct phy_output *output);

/* Whether the partial directory has every sidecar, each file with its size. */
bool phy_sidecars_are_there(const struct phy_checkpoint *checkpoint, const struct phy_output *output);

#endif
