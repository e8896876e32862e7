/* SPDX-License-Identifier: Apache-2.0 */
#include "base/alloc.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked_math.h"

static _Atomic uint64_t allocations_left = UINT64_MAX;

static bool may_allocate(void)
{
    uint64_t left = atomic_load_explicit(&allocations_left, memory_order_relaxed);
    do {
        if (left == UINT64_MAX)
            return true;
        if (left == 0)
            return false;
    } while (!atomic_compare_exchange_weak(&allocations_left, &left, left - 1));
    return true;
}

void phy_alloc_fail_after(uint64_t after)
{
    atomic_store(&allocations_left, after);
}

void *phy_alloc(size_t count, size_t bytes)
{
    return phy_realloc(NULL, count, bytes);
}

void *phy_zalloc(size_t count, size_t bytes)
{
    if (!may_allocate())
        return NULL;
    return calloc(count ? count : 1, bytes ? bytes : 1);
}

void *phy_realloc(void *old, size_t count, size_t bytes)
{
    size_t total;
    if (!phy_mul_size(count, bytes, &total) || !may_allocate())
        return NULL;
    return realloc(old, total ? total : 1);
}

void *phy_alloc_aligned(size_t bytes)
{
    if (bytes > SIZE_MAX - 63 || !may_allocate())
        return NULL;
    size_t rounded = (bytes + 63) & ~(size_t)63;
    return aligned_alloc(64, rounded ? rounded : 64);
}

void phy_free(void *memory)
{
    free(memory);
}

char *phy_strndup(const char *text, size_t bytes)
{
    if (bytes == SIZE_MAX)
        return NULL;
    char *copy = phy_alloc(bytes + 1, 1);
    if (copy) {
        memcpy(copy, text, bytes);
        copy[bytes] = 0;
    }
    return copy;
}
