/* SPDX-License-Identifier: Apache-2.0 */
/* What a device must do for the domain: a table of typed function pointers. backend.c validates, then calls. */
#ifndef PHY_BACKEND_BACKEND_H
#define PHY_BACKEND_BACKEND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/flow_tile.h"
#include "kernels/rank_rows.h"
#include "physarium/host.h"

/* A rectangle of a target tensor: whole tiles, or clipped at the tensor's right and bottom edge. Its top left corner is
 * a corner of the tensor's tile grid. */
struct phy_flow_region {
    void *codes; /* (rows, cols) row-major, dense; killed weights become +0 when apply */
    enum phy_float_type type;
    uint64_t rows, cols;       /* >= 1 */
    const float *column_scale; /* (cols) or NULL */
    bool apply;
    /* (ceil(rows/block) * ceil(cols/block)) tiles row by row; the caller's; receives the counts. */
    struct phy_flow_tile_result *tiles;
};

struct phy_backend; /* the first member of each backend's own struct is this struct's definition, below */

struct phy_backend_ops {
    /* Run the flow on a region. Called by up to `slot_count` threads at a time, each with its own slot < slot_count.
     * A tile whose peak_bits reach PHY_FLOW_FOOD_LIMIT_BITS is left as it is; the call still returns PHY_OK.
     *   PHY_ERR_DEVICE  device lost: codes are untouched, so that the caller can redo the region elsewhere
     *   PHY_ERR_MEMORY  host or device allocation failed: codes are untouched */
    enum phy_status (*flow)(struct phy_backend *backend, uint32_t slot, const struct phy_flow_params *params,
                            struct phy_flow_region *region);
    /* Rank rows and kill the lowest (kernels/rank_rows.h). NULL: not on this device. Called as flow is. */
    enum phy_status (*rank)(struct phy_backend *backend, uint32_t slot, const struct phy_rank_params *params,
                            const struct phy_rank_rows *rows);
    void (*destroy)(struct phy_backend *backend);
};

struct phy_backend {
    const struct phy_backend_ops *ops;
    char name[128];          /* what --device takes: "cpu:avx2", "vulkan:0" */
    char description[256];   /* for people: device name and driver */
    uint32_t slot_count;     /* threads that may call flow at a time */
    uint64_t region_weights; /* weights in a region from which the device is well used */
};

/* Validates (shapes, parameters, slot), then calls. PHY_ERR_USAGE for arguments that break the contract. */
enum phy_status phy_backend_flow(struct phy_backend *backend, uint32_t slot, const struct phy_flow_params *params,
                                 struct phy_flow_region *region);
/* The same; PHY_ERR_UNSUPPORTED where the device does not rank. */
enum phy_status phy_backend_rank(struct phy_backend *backend, uint32_t slot, const struct phy_rank_params *params,
                                 const struct phy_rank_rows *rows);
/* Accepts a pointer to NULL; sets it to NULL. */
void phy_backend_destroy(struct phy_backend **backend);

/* Number of tiles of a region. */
uint64_t phy_flow_region_tile_count(uint64_t rows, uint64_t cols, uint32_t block);

#endif
