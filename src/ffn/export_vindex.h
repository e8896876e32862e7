/* SPDX-License-Identifier: Apache-2.0 */
/* What a vindex takes from a store as it is there. */
#ifndef PHY_FFN_EXPORT_VINDEX_H
#define PHY_FFN_EXPORT_VINDEX_H

#include "ffn/export_run.h"
#include "ffn/quantize_run.h"

/* Whether the layer, which the store holds, gives the matrix in `type` without a new rounding. */
bool phy_vindex_stored(const struct phy_ffn_store *store, uint32_t layer, enum phy_matrix_kind kind,
                       enum phy_weight_type type);

/* Write such a matrix to its place in the file `name`; Q6_K in the order of the export's params. The encoder keeps the
 * count of weights for the progress. PHY_ERR_INTERRUPTED with no line logged. */
enum phy_status phy_vindex_copy(struct phy_export *run, struct phy_quantize *encoder,
                                const struct phy_quantize_job *job, const char *name, int fd);

#endif
