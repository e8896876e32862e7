/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PHYSARIUM_TARGETS_H
#define PHYSARIUM_TARGETS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "checkpoint.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Which tensors surgery works on. Defaults (all zero): every 2-D BF16, F16 or F32 tensor named
 * *layers.N.{self_attn.{q,k,v,o}_proj,mlp.{gate,up,down}_proj}.weight. */
struct phy_target_params {
    const char *const
        *include; /* globs (* ? [a-z]) over whole names that replace the default pattern; 2-D floats only */
    size_t include_count;
    const char *const *exclude; /* globs that take away */
    size_t exclude_count;
    bool has_layers; /* only tensors of layers first_layer .. last_layer */
    uint32_t first_layer, last_layer;
};

enum { PHY_NO_LAYER = UINT32_MAX };

struct phy_target {
    size_t tensor;  /* index in the checkpoint */
    uint32_t layer; /* the N of *layers.N.* (of included names also layer.N, h.N, blocks.N, block.N), or PHY_NO_LAYER */
    /* "self_attn.q_proj", "mlp.down_proj"; for included names what follows layers.N. less .weight, numbers as N: all of
     * experts.0.up_proj, experts.1.up_proj ... are "experts.N.up_proj". Cut at 63 bytes. */
    char projection[64];
};

struct phy_target_list {
    struct phy_target *targets; /* in data order */
    size_t count;
    uint64_t elements; /* weights in all targets */
};

/* Choose the targets. params may be NULL: the defaults. Finding none is an error whose line lists what was found under
 * other names (fused projections, experts) and how to name it. Other matrices beside the default names are a warning.
 *   PHY_ERR_USAGE        nothing matches the globs or layers given
 *   PHY_ERR_UNSUPPORTED  nothing matches the default names, or what matches is not 2-D BF16, F16 or F32
 *   PHY_ERR_MEMORY       host allocation failed */
PHY_API enum phy_status phy_targets_choose(struct phy_target_list *out, const struct phy_checkpoint *checkpoint,
                                           const struct phy_target_params *params, const struct phy_host *host);
PHY_API void phy_target_list_free(struct phy_target_list *list);

#ifdef __cplusplus
}
#endif
#endif
