/* SPDX-License-Identifier: Apache-2.0 */
/* What the parity tests of float32 kernels share: numbers drawn from a seed, and the worst element of a comparison. */
#ifndef PHY_TESTS_SUPPORT_PARITY_H
#define PHY_TESTS_SUPPORT_PARITY_H

#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint64_t parity_seed = 1;

/* PHY_SEED sets another seed. */
static inline void parity_begin(void)
{
    const char *text = getenv("PHY_SEED");
    if (text)
        parity_seed = strtoull(text, NULL, 0);
}

static inline uint32_t random_bits(void)
{
    parity_seed = parity_seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    uint64_t h = (parity_seed ^ parity_seed >> 33) * UINT64_C(0xFF51AFD7ED558CCD);
    return (uint32_t)(h >> 32);
}

static inline uint32_t random_below(uint32_t limit)
{
    return (uint32_t)((uint64_t)random_bits() * limit >> 32);
}

static inline double uniform(double low, double high)
{
    return low + (high - low) * (random_bits() + 0.5) / 4294967296.0;
}

/* Near enough to a normal deviate of deviation 1, without a logarithm for each: four uniforms. */
static inline float gaussian(void)
{
    return (float)((uniform(-1, 1) + uniform(-1, 1) + uniform(-1, 1) + uniform(-1, 1)) * 0.8660254037844386);
}

/* The element with the largest error over tolerance so far. */
struct worst {
    double ratio, expected, got;
    size_t element;
    uint64_t seed;
    char where[160];
};

/* Note one element of the case that `where` describes and that was drawn from `seed`. A NaN is the worst of all. */
static inline void compare(struct worst *worst, double got, double expected, double tolerance, size_t element,
                           uint64_t seed, const char *where)
{
    double error = fabs(got - expected), ratio = error == 0 ? 0 : error / tolerance;
    if (!(ratio <= worst->ratio)) {
        *worst = (struct worst){ratio == ratio ? ratio : INFINITY, expected, got, element, seed, ""};
        snprintf(worst->where, sizeof worst->where, "%s", where);
    }
}

/* Print the worst; true if it is within the tolerance. */
static inline bool report_worst(const struct worst *worst, const char *what)
{
    printf("%s: worst error %.3g of the tolerance", what, worst->ratio);
    if (worst->ratio > 0)
        printf(": element %zu of %s: got %.9g, expected %.9g, PHY_SEED=%llu", worst->element, worst->where, worst->got,
               worst->expected, (unsigned long long)worst->seed);
    printf("\n");
    return worst->ratio <= 1;
}

#endif
