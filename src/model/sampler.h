/* SPDX-License-Identifier: Apache-2.0 */
/* The choice of the next token from logits. */
#ifndef PHY_MODEL_SAMPLER_H
#define PHY_MODEL_SAMPLER_H

#include <stddef.h>
#include <stdint.h>

#include "physarium/generate.h"

struct phy_sampler {
    struct phy_sampler_params params;
    uint64_t state;
    struct phy_candidate {
        float logit;
        uint32_t id;
        double weight;
    } * candidates; /* (vocab) */
};

/* PHY_ERR_USAGE for a temperature below 0 or a top_p outside (0, 1]; PHY_ERR_MEMORY. */
enum phy_status phy_sampler_open(struct phy_sampler *out, const struct phy_sampler_params *params, size_t vocab,
                                 const struct phy_host *host);
void phy_sampler_close(struct phy_sampler *sampler);
/* Temperature 0: the largest logit, the lowest id on a tie. Else softmax(logits / temperature) over the top_k largest,
 * cut to the smallest set of the most likely whose sum reaches top_p, and a draw from splitmix64. */
uint32_t phy_sampler_choose(struct phy_sampler *sampler, const float *logits, size_t vocab);

#endif
