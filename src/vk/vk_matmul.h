/* SPDX-License-Identifier: Apache-2.0 */
/* A Vulkan device as a model's device: the weights live there, activations stay there between the products of a call.
 */
#ifndef PHY_VK_VK_MATMUL_H
#define PHY_VK_VK_MATMUL_H

#include "backend/matmul_backend.h"

struct phy_vk_matmul_options {
    const char *tiles;        /* one of phy_vk_matmul_tile_names; NULL picks by the device */
    const char *dots;         /* one of phy_vk_matmul_dot_names, for INT8; NULL: "dot" where the device is fast at it */
    bool tune;                /* measure tiles when a large matrix is first used, keep the results in a file */
    uint32_t choice;          /* one of the tiles that tuning chooses from; 0 is the fixed one */
    bool copies;              /* keep weights and activations out of the host's reach, as on a card of its own memory */
    uint64_t max_slice_bytes; /* bind matrices in slices of at most this; 0: the device's limit */
    uint64_t max_chunk_bytes; /* of one allocation for weights; 0: the device's limit */
    uint64_t max_weight_bytes;      /* 0: the device's memory */
    uint64_t max_dispatch_products; /* cut dispatches to at most this many multiplications, but one row of workgroups;
                                       0: as many as were measured to take a tenth of a second */
    const char
        *cache_directory; /* for what vk_cache.h keeps; NULL: the user's; "": keep nothing. Outlives the backend */
    bool spoil_self_test; /* test seam: the self-test sees a wrong product */
    /* test seam: cooperative matrices, used without being asked for, 1 multiply wrongly, 2 cannot be compiled */
    uint32_t spoil_matrices;
};

/* Device `index` of phy_vk_list; options may be NULL. load runs the self-test. host must outlive the backend.
 *   PHY_ERR_DEVICE  no loader, driver or such device; lost
 *   PHY_ERR_MEMORY  host or device allocation failed
 *   PHY_ERR_USAGE   no tiles or dots of that name
 *   PHY_ERR_UNSUPPORTED  the device has no tiles or dots of that name */
enum phy_status phy_vk_matmul_create(struct phy_matmul_backend **out, uint32_t index,
                                     const struct phy_vk_matmul_options *options, const struct phy_host *host);

/* NULL ends. */
extern const char *const phy_vk_matmul_tile_names[];
extern const char *const phy_vk_matmul_dot_names[];

/* What a backend's name says of the forms that were asked for, each NULL or a name of these: "/rows+plain", "/dot"; ""
 * for neither. */
enum { PHY_VK_FORM_BYTES = 24 };
const char *phy_vk_matmul_form(char out[PHY_VK_FORM_BYTES], const char *tiles, const char *dots);

#endif
