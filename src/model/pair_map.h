/* SPDX-License-Identifier: Apache-2.0 */
/* A map from 64 bits to 32, open addressing, with a hash keyed afresh in each process: a file cannot be made to
 * collide. */
#ifndef PHY_MODEL_PAIR_MAP_H
#define PHY_MODEL_PAIR_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* No value may be PHY_PAIR_NONE. */
enum { PHY_PAIR_NONE = UINT32_MAX };

struct phy_pair_slot {
    uint32_t high, low, value; /* value is PHY_PAIR_NONE in a free slot */
};

/* A zeroed map is empty. */
struct phy_pair_map {
    struct phy_pair_slot *slots; /* (slot_count, a power of two) */
    size_t count, slot_count;
    uint64_t key[2];
};

/* Set, or replace. False: no memory, the map is as before. */
bool phy_pair_map_put(struct phy_pair_map *map, uint32_t high, uint32_t low, uint32_t value);
void phy_pair_map_free(struct phy_pair_map *map);

static inline size_t phy_pair_hash(const struct phy_pair_map *map, uint32_t high, uint32_t low)
{
    uint64_t x = ((uint64_t)high << 32 | low) ^ map->key[0];
    unsigned __int128 product = (unsigned __int128)x * map->key[1];
    x = (uint64_t)product ^ (uint64_t)(product >> 64);
    return (size_t)((x ^ x >> 29) * UINT64_C(0xBF58476D1CE4E5B9) >> 20);
}

/* PHY_PAIR_NONE when it is not there. */
static inline uint32_t phy_pair_map_get(const struct phy_pair_map *map, uint32_t high, uint32_t low)
{
    if (!map->slot_count)
        return PHY_PAIR_NONE;
    size_t mask = map->slot_count - 1, slot = phy_pair_hash(map, high, low) & mask;
    for (;; slot = (slot + 1) & mask) {
        const struct phy_pair_slot *s = &map->slots[slot];
        if (s->value == PHY_PAIR_NONE || (s->high == high && s->low == low))
            return s->value;
    }
}

#endif
