/* SPDX-License-Identifier: Apache-2.0 */
/* A look at what goes into a layer's matrices. */
#ifndef PHY_MODEL_OBSERVER_H
#define PHY_MODEL_OBSERVER_H

#include <stddef.h>
#include <stdint.h>

enum phy_input { PHY_INPUT_QKV, PHY_INPUT_O, PHY_INPUT_GATE_UP, PHY_INPUT_DOWN, PHY_INPUT_COUNT };

struct phy_observer {
    /* x (count, width), the input of the matrices that `input` names in layer `layer`; from the calling thread. */
    void (*see)(void *user, enum phy_input input, uint32_t layer, const float *x, size_t count, size_t width);
    void *user;
};

struct phy_session;

/* NULL: nobody looks. The observer must outlive the session or the next call. */
void phy_session_observe(struct phy_session *session, const struct phy_observer *observer);

static inline void phy_observe(const struct phy_observer *observer, enum phy_input input, uint32_t layer,
                               const float *x, size_t count, size_t width)
{
    if (observer)
        observer->see(observer->user, input, layer, x, count, width);
}

#endif
