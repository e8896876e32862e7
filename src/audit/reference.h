/* SPDX-License-Identifier: Apache-2.0 */
/* What every path is measured against: a dense FFN in decoded weights and float32 inputs, products accumulated in
 * float64 and rounded once, in plain C. It shares no kernel with any path: only the decoders of block formats, which
 * say what a stored weight is. */
#ifndef PHY_AUDIT_REFERENCE_H
#define PHY_AUDIT_REFERENCE_H

#include "backend/matmul_backend.h"
#include "base/pool.h"

/* A layer's matrices; those that it does not have in a form are NULL or have data NULL. Either gate and up or gate_up,
 * either down or down_by_feature. */
struct phy_reference_layer {
    const struct phy_weights *gate, *up;          /* (intermediate, hidden) */
    const struct phy_weights *gate_up;            /* (2 intermediate, hidden): gate's and up's rows in turn */
    const struct phy_weights *down;               /* (hidden, intermediate) */
    const struct phy_weights *down_by_feature;    /* (intermediate, hidden) */
    const float *gate_bias, *up_bias, *down_bias; /* or NULL */
};

struct phy_reference {
    struct phy_pool *pool;
    enum phy_activation activation;
    size_t hidden, intermediate;
    const struct phy_host *host;
};

/* y (count, hidden) of x (count, hidden): the same bits for every number of threads.
 *   PHY_ERR_MEMORY       host allocation failed
 *   PHY_ERR_FORMAT       the layer lacks a matrix, or one has another shape: not logged */
enum phy_status phy_reference_forward(const struct phy_reference *reference, const struct phy_reference_layer *layer,
                                      const float *x, size_t count, float *y);

#endif
