/* SPDX-License-Identifier: Apache-2.0 */
/* A checkpoint of a few layers to prune: names and shapes of a published model by tools/make-checkpoint's rules, random
 * weights. */
#ifndef PHY_BENCH_SYNTHETIC_H
#define PHY_BENCH_SYNTHETIC_H

#include "physarium/host.h"

struct phy_bench_synthetic {
    uint32_t hidden, intermediate, kv, layers; /* kv: rows of k_proj and v_proj */
};

/* Write config.json and model.safetensors (bf16) to the new directory `path`. PHY_ERR_IO, PHY_ERR_MEMORY. */
enum phy_status phy_bench_write_synthetic(const char *path, const struct phy_bench_synthetic *shape,
                                          const struct phy_host *host);

#endif
