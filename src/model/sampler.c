/* SPDX-License-Identifier: Apache-2.0 */
#include "model/sampler.h"

#include <math.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/log.h"

enum phy_status phy_sampler_open(struct phy_sampler *out, const struct phy_sampler_params *params, size_t vocab,
                                 const struct phy_host *host)
{
    *out = (struct phy_sampler){.params = *params, .state = params->seed};
    if (!(params->temperature >= 0.0 && params->temperature <= 1e6))
        return phy_fail(host, PHY_ERR_USAGE, "a temperature of %g: 0 or more is needed", params->temperature);
    if (out->params.top_p == 0.0)
        out->params.top_p = 1.0;
    if (!(out->params.top_p > 0.0 && out->params.top_p <= 1.0))
        return phy_fail(host, PHY_ERR_USAGE, "a top-p of %g: above 0 and at most 1 is needed", params->top_p);
    out->candidates = phy_alloc(vocab, sizeof *out->candidates);
    return out->candidates ? PHY_OK : phy_fail_memory(host, "a sampler", vocab * sizeof *out->candidates);
}

void phy_sampler_close(struct phy_sampler *sampler)
{
    phy_free(sampler->candidates);
    *sampler = (struct phy_sampler){0};
}

/* Uniform in [0, 1), 53 bits. Source: Steele, Lea and Flood's splitmix64. */
static double draw(struct phy_sampler *sampler)
{
    uint64_t z = sampler->state += UINT64_C(0x9E3779B97F4A7C15);
    z = (z ^ z >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ z >> 27) * UINT64_C(0x94D049BB133111EB);
    z ^= z >> 31;
    return (double)(z >> 11) * 0x1p-53;
}

static uint32_t largest(const float *logits, size_t vocab)
{
    size_t best = 0;
    for (size_t v = 1; v < vocab; v++) {
        if (logits[v] > logits[best])
            best = v;
    }
    return (uint32_t)best;
}

/* Most likely first, lowest id on a tie. */
static int by_weight(const void *a, const void *b)
{
    const struct phy_candidate *x = a, *y = b;
    if (x->logit != y->logit)
        return x->logit > y->logit ? -1 : 1;
    return (x->id > y->id) - (x->id < y->id);
}

uint32_t phy_sampler_choose(struct phy_sampler *sampler, const float *logits, size_t vocab)
{
    const struct phy_sampler_params *p = &sampler->params;
    uint32_t top = largest(logits, vocab);
    if (p->temperature == 0.0)
        return top;
    double total = 0;
    for (size_t v = 0; v < vocab; v++)
        total += exp((double)(logits[v] - logits[top]) / p->temperature);
    /* What is less likely than (1 - top_p) / vocab is no part of any set that top_p asks for: all of it together stays
     * below 1 - top_p. So few candidates are left to sort. */
    double floor = p->top_k ? 0.0 : total * (1.0 - p->top_p) / (double)vocab;
    size_t count = 0;
    for (size_t v = 0; v < vocab; v++) {
        double weight = exp((double)(logits[v] - logits[top]) / p->temperature);
        if (weight >= floor)
            sampler->candidates[count++] =
                (struct phy_candidate){.logit = logits[v], .id = (uint32_t)v, .weight = weight};
    }
    if (count == 0) /* logits that are no numbers */
        return top;
    if (p->top_k || p->top_p < 1.0)
        qsort(sampler->candidates, count, sizeof *sampler->candidates, by_weight);
    if (p->top_k && p->top_k < count) {
        count = p->top_k;
        total = 0;
        for (size_t i = 0; i < count; i++)
            total += sampler->candidates[i].weight;
    }
    double kept = 0;
    size_t last = 0;
    for (; last < count; last++) {
        kept += sampler->candidates[last].weight;
        if (p->top_p < 1.0 && kept >= p->top_p * total)
            break;
    }
    double at = draw(sampler) * kept, sum = 0;
    for (size_t i = 0; i < count && i <= last; i++) {
        sum += sampler->candidates[i].weight;
        if (at < sum)
            return sampler->candidates[i].id;
    }
    return sampler->candidates[0].id;
}
