/* SPDX-License-Identifier: Apache-2.0 */
/* A list of byte strings without duplicates: each has an index, in the order of adding, and is found again in constant
 * time. The hash is seeded anew for each list, so that a file cannot be made whose names all collide. */
#ifndef PHY_FORMAT_NAMES_H
#define PHY_FORMAT_NAMES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Zero-initialise; the members are the list's own. */
struct phy_names {
    char *text;      /* all names, each followed by NUL */
    size_t *starts;  /* (count + 1) where each begins in text */
    uint32_t *slots; /* (slot_count, a power of two) index + 1, 0 for an empty slot */
    size_t count, capacity, text_bytes, text_capacity, slot_count;
    uint64_t seed;
};

enum phy_names_result { PHY_NAMES_ADDED, PHY_NAMES_DUPLICATE, PHY_NAMES_NO_MEMORY };

/* Add a name (any bytes). *index is the new one's or that of the equal one; fails with NO_MEMORY beyond 2^32 - 2 names.
 */
enum phy_names_result phy_names_add(struct phy_names *names, const char *name, size_t bytes, size_t *index);
bool phy_names_find(const struct phy_names *names, const char *name, size_t bytes, size_t *index);
/* NUL-terminated; valid until the next add. index < count. */
const char *phy_names_at(const struct phy_names *names, size_t index, size_t *bytes);
void phy_names_free(struct phy_names *names);

#endif
