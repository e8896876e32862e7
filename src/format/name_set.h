/* SPDX-License-Identifier: Apache-2.0 */
/* A set of names, to find duplicates in linear time whatever the names: the hash is keyed afresh in each process, so
 * that nobody can write a file full of collisions. */
#ifndef PHY_FORMAT_NAME_SET_H
#define PHY_FORMAT_NAME_SET_H

#include <stddef.h>
#include <stdint.h>

/* A name in the set. `scope` separates name spaces (an object's keys); `value` is the user's. */
struct phy_name {
    const char *text; /* not copied: must outlive the set */
    uint32_t bytes, scope, hash, value;
};

struct phy_name_set {
    struct phy_name *names; /* (count) in the order they were added */
    size_t count, capacity;
    uint32_t *slots; /* (slot_count, a power of two) index into names plus 1, 0 when free */
    size_t slot_count;
};

enum phy_name_added { PHY_NAME_NEW, PHY_NAME_DUPLICATE, PHY_NAME_NO_MEMORY };

/* A zeroed set is empty. *found (or NULL) is the name that was there before, or the new one; valid until the next add.
 */
enum phy_name_added phy_name_set_add(struct phy_name_set *set, uint32_t scope, const char *text, size_t bytes,
                                     uint32_t value, struct phy_name **found);
/* NULL when it is not there. */
struct phy_name *phy_name_set_find(const struct phy_name_set *set, uint32_t scope, const char *text, size_t bytes);
void phy_name_set_free(struct phy_name_set *set);

#endif
