/* SPDX-License-Identifier: Apache-2.0 */
/* The one door between a model and what computes its feed-forward layers:
 *
 *   y = down( act(gate x) * (up x) )
 *
 * act is SiLU or tanh-GELU. The dense path runs the checkpoint's own matrices; other paths put themselves in its place.
 */
#ifndef PHY_MODEL_FFN_H
#define PHY_MODEL_FFN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "model/config.h"
#include "model/observer.h"
#include "physarium/status.h"

struct phy_ffn;

struct phy_ffn_ops {
    /* y (count, hidden) = FFN of layer `layer` of x (count, hidden); y and x do not overlap. One call at a time. */
    enum phy_status (*forward)(struct phy_ffn *ffn, uint32_t layer, const float *x, size_t count, float *y);
    void (*destroy)(struct phy_ffn *ffn);
};

/* Rows of x that forward is given at most. */
enum { PHY_FFN_MAX_COUNT = 512 };

struct phy_ffn {
    const struct phy_ffn_ops *ops;
    const struct phy_observer *observer; /* sees the input of down; or NULL */
    bool every_row;                      /* the last layer is asked for rows, too, of which nobody wants the logits */
};

struct phy_model;

/* The dense path for at most max_count rows of x at a time. NULL when memory runs out. */
struct phy_ffn *phy_ffn_dense_create(struct phy_model *model, size_t max_count);

#endif
