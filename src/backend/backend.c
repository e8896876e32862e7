/* SPDX-License-Identifier: Apache-2.0 */
#include "backend/backend.h"

#include "base/checked_math.h"

uint64_t phy_flow_region_tile_count(uint64_t rows, uint64_t cols, uint32_t block)
{
    return phy_ceil_div(rows, block) * phy_ceil_div(cols, block);
}

static bool params_allowed(const struct phy_flow_params *params)
{
    uint32_t block = params->block;
    return params->gain >= 0.0625f && params->gain <= 64.0f && params->beta >= 1 && params->beta <= 4 &&
           params->iterations >= 1 && params->iterations <= 1000 &&
           (block == 32 || block == 64 || block == 128 || block == 256);
}

enum phy_status phy_backend_flow(struct phy_backend *backend, uint32_t slot, const struct phy_flow_params *params,
                                 struct phy_flow_region *region)
{
    uint64_t bytes;
    if (slot >= backend->slot_count || !params_allowed(params) || !region->codes || !region->tiles || !region->rows ||
        !region->cols || !phy_mul_u64(region->rows, region->cols, &bytes) ||
        !phy_mul_u64(bytes, phy_float_bytes(region->type), &bytes) || bytes > SIZE_MAX / 2)
        return PHY_ERR_USAGE;
    return backend->ops->flow(backend, slot, params, region);
}

static bool rank_allowed(const struct phy_rank_params *params, const struct phy_rank_rows *rows)
{
    if (params->group && !(params->keep > 0 && params->keep < params->group && params->group <= PHY_RANK_MAX_GROUP))
        return false;
    if (params->kill > rows->cols)
        return false;
    switch (params->score) {
    case PHY_RANK_MAGNITUDE:
        return true;
    case PHY_RANK_WANDA:
        return rows->column_factor;
    case PHY_RANK_RIA:
        return rows->column_inverse;
    default:
        return false;
    }
}

enum phy_status phy_backend_rank(struct phy_backend *backend, uint32_t slot, const struct phy_rank_params *params,
                                 const struct phy_rank_rows *rows)
{
    uint64_t bytes;
    if (slot >= backend->slot_count || !rows->codes || !rows->results || !rows->scratch || !rows->rows || !rows->cols ||
        rows->cols > UINT32_MAX || !phy_mul_u64(rows->rows, rows->cols, &bytes) ||
        !phy_mul_u64(bytes, phy_float_bytes(rows->type), &bytes) || bytes > SIZE_MAX / 2 || !rank_allowed(params, rows))
        return PHY_ERR_USAGE;
    return backend->ops->rank ? backend->ops->rank(backend, slot, params, rows) : PHY_ERR_UNSUPPORTED;
}

void phy_backend_destroy(struct phy_backend **backend)
{
    if (backend && *backend) {
        (*backend)->ops->destroy(*backend);
        *backend = NULL;
    }
}
