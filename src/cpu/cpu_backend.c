/* SPDX-License-Identifier: Apache-2.0 */
#include "cpu/cpu_backend.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/checked_math.h"
#include "base/log.h"
#include "kernels/flow_self_test.h"

struct cpu_backend {
    struct phy_backend base;
    const struct phy_flow_variant *variant;
    const struct phy_rank_variant *rank; /* of the same name */
    char *scratch;                       /* slot_count x PHY_FLOW_SCRATCH_BYTES, 64-byte aligned */
};

static enum phy_status flow(struct phy_backend *backend, uint32_t slot, const struct phy_flow_params *params,
                            struct phy_flow_region *region)
{
    struct cpu_backend *cpu = (struct cpu_backend *)backend;
    void *scratch = cpu->scratch + slot * PHY_FLOW_SCRATCH_BYTES;
    size_t code_bytes = phy_float_bytes(region->type);
    struct phy_flow_tile_result *result = region->tiles;
    for (uint64_t r = 0; r < region->rows; r += params->block) {
        for (uint64_t c = 0; c < region->cols; c += params->block) {
            struct phy_flow_tile tile = {
                .codes = (char *)region->codes + (r * region->cols + c) * code_bytes,
                .row_stride = region->cols,
                .type = region->type,
                .rows = (uint32_t)phy_min_u64(params->block, region->rows - r),
                .cols = (uint32_t)phy_min_u64(params->block, region->cols - c),
                .column_scale = region->column_scale ? region->column_scale + c : NULL,
                .apply = region->apply,
            };
            cpu->variant->run(&tile, params, scratch, result++);
        }
    }
    return PHY_OK;
}

static enum phy_status rank(struct phy_backend *backend, uint32_t slot, const struct phy_rank_params *params,
                            const struct phy_rank_rows *rows)
{
    struct cpu_backend *cpu = (struct cpu_backend *)backend;
    (void)slot;
    cpu->rank->run(rows, params);
    return PHY_OK;
}

static void destroy(struct phy_backend *backend)
{
    struct cpu_backend *cpu = (struct cpu_backend *)backend;
    phy_free(cpu->scratch);
    phy_free(cpu);
}

static const struct phy_backend_ops ops = {.flow = flow, .rank = rank, .destroy = destroy};

enum phy_status phy_cpu_backend_create(struct phy_backend **out, const char *form, uint32_t threads,
                                       const struct phy_host *host)
{
    *out = NULL;
    struct phy_cpu_features have = phy_cpu_detect();
    const struct phy_flow_variant *variant = form ? phy_flow_variant_named(form) : phy_flow_variant_best(&have);
    if (!variant)
        return phy_fail(host, PHY_ERR_USAGE, "device cpu:%.64s: no such form; physarium devices lists them", form);
    if (!phy_cpu_meets(&have, &variant->needs))
        return phy_fail(host, PHY_ERR_DEVICE, "device cpu:%s: this processor (%s) does not have the instructions", form,
                        phy_cpu_model());
    char failed[128];
    enum phy_status status = phy_flow_self_test(variant, failed, sizeof failed);
    if (status == PHY_ERR_MEMORY)
        return phy_fail(host, status, "out of memory: self-test of device cpu:%s", variant->name);
    if (status)
        return phy_fail(host, status, "device cpu:%s: not bit-exact, so refused: its self-test differs in %s",
                        variant->name, failed);
    struct cpu_backend *cpu = phy_zalloc(1, sizeof *cpu);
    if (!cpu)
        return phy_fail_memory(host, "a device", sizeof *cpu);
    cpu->variant = variant;
    cpu->rank = phy_rank_variant_named(variant->name);
    cpu->base.ops = &ops;
    cpu->base.slot_count = threads ? threads : phy_cpu_count();
    cpu->base.region_weights = (uint64_t)PHY_FLOW_MAX_BLOCK * PHY_FLOW_MAX_BLOCK;
    size_t scratch_bytes;
    if (phy_mul_size(cpu->base.slot_count, PHY_FLOW_SCRATCH_BYTES, &scratch_bytes))
        cpu->scratch = phy_alloc_aligned(scratch_bytes);
    if (!cpu->scratch) {
        uint32_t wanted = cpu->base.slot_count;
        destroy(&cpu->base);
        return phy_fail(host, PHY_ERR_MEMORY, "out of memory: scratch for %u threads", wanted);
    }
    snprintf(cpu->base.name, sizeof cpu->base.name, "cpu:%s", variant->name);
    snprintf(cpu->base.description, sizeof cpu->base.description, "%s", phy_cpu_model());
    *out = &cpu->base;
    return PHY_OK;
}
