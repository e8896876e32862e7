/* SPDX-License-Identifier: Apache-2.0 */
/* Stands where the store will: nothing opens one, so none of these is called. */
#include "ffn/store.h"

#define WEAK __attribute__((weak))

WEAK const struct phy_store_layer *phy_ffn_store_layer(const struct phy_ffn_store *store, uint32_t layer)
{
    (void)store, (void)layer;
    return NULL;
}

WEAK const char *phy_ffn_store_label(const struct phy_ffn_store *store)
{
    (void)store;
    return "";
}

WEAK void phy_ffn_store_describe(const struct phy_ffn_store *store, struct phy_ffn_store_info *out)
{
    (void)store;
    *out = (struct phy_ffn_store_info){0};
}
