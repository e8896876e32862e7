/* SPDX-License-Identifier: Apache-2.0 */
/* Arrays that grow with what a file holds, and a sort whose time does not depend on the file's order. */
#ifndef PHY_FORMAT_ARRAY_H
#define PHY_FORMAT_ARRAY_H

#include <stdbool.h>
#include <stddef.h>

/* The array, moved if need be, with room for `need` items of `item_bytes`; *capacity is updated. NULL when there is no
 * memory: the old array is still the caller's. */
void *phy_array_reserve(void *array, size_t *capacity, size_t need, size_t item_bytes);

/* Stable merge sort: n log n comparisons whatever the input, n when it is in order already. False: no memory for the
 * copy. */
bool phy_array_sort(void *array, size_t count, size_t item_bytes, int (*compare)(const void *a, const void *b));

#endif
