/* SPDX-License-Identifier: Apache-2.0 */
/* Whether a device, opened for the question, offers a path. */
#ifndef PHY_TESTS_PATH_OFFERED_H
#define PHY_TESTS_PATH_OFFERED_H

#include "support/test.h"

#include "ffn/path.h"

static inline bool path_offered(const char *name, struct phy_model *model, const struct phy_ffn_store *store,
                                const char *device, char *reason, size_t bytes)
{
    struct phy_path_device *opened;
    assert_int_equal(phy_path_device_open(&opened, device, model, NULL), PHY_OK);
    const bool offered = phy_path_offered_on(name, model, store, opened, reason, bytes);
    phy_path_device_close(&opened);
    return offered;
}

#endif
