/* SPDX-License-Identifier: Apache-2.0 */
#include "model/sampler.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/log.h"

enum phy_status phy_sampler_open(struct phy_sampler *out, const struct phy_sampler_params *params, size_t vocab,
                                 const struct phy_host *host)
{
    *out = (struct phy_sampler){.params = *params, .state = params->seed};
    if (!(params->temperature >= 0.0 && params->temperature <= 1e6))
        return phy_fail(host, PHY_ERR_USAGE, "a temperature of %g: 0 to 1000000 is needed", params->temperature);
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

/* The candidate at `at` of a heap whose root is the last by by_weight sinks to its place. */
static void sink(struct phy_candidate *heap, size_t count, size_t at)
{
    for (size_t child; (child = 2 * at + 1) < count; at = child) {
        if (child + 1 < count && by_weight(&heap[child], &heap[child + 1]) < 0)
            child++;
        if (by_weight(&heap[at], &heap[child]) >= 0)
            return;
        struct phy_candidate held = heap[at];
        heap[at] = heap[child];
        heap[child] = held;
    }
}

static struct phy_candidate candidate(const struct phy_sampler *sampler, const float *logits, uint32_t top, size_t v)
{
    return (struct phy_candidate){.logit = logits[v],
                                  .id = (uint32_t)v,
                                  .weight = exp((double)(logits[v] - logits[top]) / sampler->params.temperature)};
}

/* The top_k largest, unordered; their count. What is no number is left out. One comparison for nearly every token: most
 * are less than the heap's least. */
static size_t select_top(struct phy_sampler *sampler, const float *logits, size_t vocab, uint32_t top)
{
    struct phy_candidate *heap = sampler->candidates;
    const size_t most = sampler->params.top_k;
    size_t count = 0;
    for (size_t v = 0; v < vocab; v++) {
        if (count == most && !(logits[v] > heap[0].logit)) /* on a tie the lower id stays, which came before */
            continue;
        struct phy_candidate c = candidate(sampler, logits, top, v);
        if (!(c.weight >= 0))
            continue;
        if (count < most) {
            heap[count++] = c;
            for (size_t i = count / 2; count == most && i-- > 0;)
                sink(heap, count, i);
        } else {
            heap[0] = c;
            sink(heap, count, 0);
        }
    }
    return count;
}

/* Those that may be in the smallest set whose sum reaches top_p, and the sum of all tokens' weights. What is less
 * likely than (1 - top_p) / vocab is no part of any such set: all of it together stays below 1 - top_p. So few
 * candidates are left to sort. */
static size_t select_likely(struct phy_sampler *sampler, const float *logits, size_t vocab, uint32_t top, double *total)
{
    *total = 0;
    for (size_t v = 0; v < vocab; v++)
        *total += candidate(sampler, logits, top, v).weight;
    const double floor = *total * (1.0 - sampler->params.top_p) / (double)vocab;
    size_t count = 0;
    for (size_t v = 0; v < vocab; v++) {
        struct phy_candidate c = candidate(sampler, logits, top, v);
        if (c.weight >= floor)
            sampler->candidates[count++] = c;
    }
    return count;
}

uint32_t phy_sampler_choose(struct phy_sampler *sampler, const float *logits, size_t vocab)
{
    const struct phy_sampler_params *p = &sampler->params;
    const struct phy_candidate *candidates = sampler->candidates;
    uint32_t top = largest(logits, vocab);
    if (p->temperature == 0.0)
        return top;
    const bool cut = p->top_k && p->top_k < vocab;
    double total = 0;
    size_t count = cut ? select_top(sampler, logits, vocab, top) : select_likely(sampler, logits, vocab, top, &total);
    if (count == 0) /* logits that are no numbers */
        return top;
    if (cut || p->top_p < 1.0)
        qsort(sampler->candidates, count, sizeof *candidates, by_weight);
    for (size_t i = 0; cut && i < count; i++)
        total += candidates[i].weight;
    double kept = 0;
    size_t last = 0;
    for (; last < count; last++) {
        kept += candidates[last].weight;
        if (p->top_p < 1.0 && kept >= p->top_p * total)
            break;
    }
    double at = draw(sampler) * kept, sum = 0;
    for (size_t i = 0; i < count && i <= last; i++) {
        sum += candidates[i].weight;
        if (at < sum)
            return candidates[i].id;
    }
    return candidates[0].id;
}
