/* SPDX-License-Identifier: Apache-2.0 */
#include "format/array.h"

#include <string.h>

#include "base/alloc.h"

void *phy_array_reserve(void *array, size_t *capacity, size_t need, size_t item_bytes)
{
    if (array && need <= *capacity)
        return array;
    /* Half as much again: the slack stays below half of what is used, and moves stay rare. */
    size_t grown = *capacity + *capacity / 2;
    if (grown < need)
        grown = need;
    if (grown < 16)
        grown = 16;
    void *moved = phy_realloc(array, grown, item_bytes);
    if (moved)
        *capacity = grown;
    return moved;
}

/* Merge the sorted runs [begin, middle) and [middle, end) of `from` into the same place of `to`. */
static void merge(const char *from, char *to, size_t begin, size_t middle, size_t end, size_t item_bytes,
                  int (*compare)(const void *, const void *))
{
    size_t left = begin, right = middle;
    for (size_t i = begin; i < end; i++) {
        bool take_left =
            right >= end || (left < middle && compare(from + left * item_bytes, from + right * item_bytes) <= 0);
        memcpy(to + i * item_bytes, from + (take_left ? left++ : right++) * item_bytes, item_bytes);
    }
}

bool phy_array_sort(void *array, size_t count, size_t item_bytes, int (*compare)(const void *, const void *))
{
    char *items = array;
    size_t ordered = 1;
    while (ordered < count && compare(items + (ordered - 1) * item_bytes, items + ordered * item_bytes) <= 0)
        ordered++;
    if (ordered >= count)
        return true;
    char *copy = phy_alloc(count, item_bytes);
    if (!copy)
        return false;
    char *from = items, *to = copy;
    for (size_t run = 1; run < count; run *= 2) {
        for (size_t begin = 0; begin < count; begin += 2 * run) {
            size_t middle = begin + run < count ? begin + run : count;
            size_t end = begin + 2 * run < count ? begin + 2 * run : count;
            merge(from, to, begin, middle, end, item_bytes, compare);
        }
        char *swap = from;
        from = to;
        to = swap;
    }
    if (from != items)
        memcpy(items, from, count * item_bytes);
    phy_free(copy);
    return true;
}
