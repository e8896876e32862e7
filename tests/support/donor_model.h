/* SPDX-License-Identifier: Apache-2.0 */
/* What surgery must write, worked out the slow way: the whole file in memory, one tile after the other, the reference
 * form. */
#ifndef PHY_TESTS_SUPPORT_DONOR_MODEL_H
#define PHY_TESTS_SUPPORT_DONOR_MODEL_H

#include "kernels/flow_tile_forms.h"
#include "physarium/physarium.h"
#include "support/donor.h"

struct model_counts {
    uint64_t killed, zero_before, weights;
};

/* Prune one matrix in place. scale: (cols) or NULL. */
static inline void model_prune_matrix(unsigned char *codes, const struct phy_tensor_info *info, const float *scale,
                                      const struct phy_flow_params *flow, struct model_counts *counts)
{
    static _Alignas(64) unsigned char scratch[PHY_FLOW_SCRATCH_BYTES];
    enum phy_float_type type = strcmp(info->dtype, "F32") == 0   ? PHY_FLOAT_F32
                               : strcmp(info->dtype, "F16") == 0 ? PHY_FLOAT_F16
                                                                 : PHY_FLOAT_BF16;
    const uint64_t rows = info->shape[0], cols = info->shape[1];
    for (uint64_t r = 0; r < rows; r += flow->block) {
        for (uint64_t c = 0; c < cols; c += flow->block) {
            struct phy_flow_tile tile = {.codes = codes + (r * cols + c) * phy_float_bytes(type),
                                         .row_stride = cols,
                                         .type = type,
                                         .rows = (uint32_t)(rows - r < flow->block ? rows - r : flow->block),
                                         .cols = (uint32_t)(cols - c < flow->block ? cols - c : flow->block),
                                         .column_scale = scale ? scale + c : NULL,
                                         .apply = true};
            struct phy_flow_tile_result result;
            phy_flow_tile_ref(&tile, flow, scratch, &result);
            counts->killed += result.killed;
            counts->zero_before += result.zero_before;
            counts->weights += (uint64_t)tile.rows * tile.cols;
        }
    }
}

/* The bytes that shard `shard` of a donor becomes; the caller's. path is the shard's file. */
static inline unsigned char *model_shard(const char *donor, const char *path, size_t shard,
                                         const struct phy_flow_params *flow, const struct phy_target_params *which,
                                         size_t *bytes, struct model_counts *counts)
{
    struct phy_checkpoint *cp;
    struct phy_target_list targets;
    if (phy_checkpoint_open(&cp, donor, NULL) != PHY_OK || phy_targets_choose(&targets, cp, which, NULL) != PHY_OK)
        abort();
    unsigned char *file = donor_read(path, bytes);
    for (size_t i = 0; i < targets.count; i++) {
        struct phy_tensor_info info;
        phy_checkpoint_tensor(cp, targets.targets[i].tensor, &info);
        if (info.shard != shard)
            continue;
        /* Codes need the alignment of their type, which a place in a file does not have. */
        unsigned char *codes = malloc(info.bytes + 1);
        memcpy(codes, file + info.at, info.bytes);
        model_prune_matrix(codes, &info, NULL, flow, counts);
        memcpy(file + info.at, codes, info.bytes);
        free(codes);
    }
    phy_target_list_free(&targets);
    phy_checkpoint_close(&cp);
    return file;
}

#endif
