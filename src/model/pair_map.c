/* SPDX-License-Identifier: Apache-2.0 */
#include "model/pair_map.h"

#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "base/alloc.h"

static void choose_key(uint64_t key[2])
{
    if (getrandom(key, 2 * sizeof *key, GRND_NONBLOCK) != (ssize_t)(2 * sizeof *key)) {
        /* Too early after boot for random bytes: the clock and the address space layout are what is left. */
        struct timespec now;
        clock_gettime(CLOCK_REALTIME, &now);
        key[0] = (uint64_t)now.tv_nsec * UINT64_C(0x9E3779B97F4A7C15) ^ (uint64_t)now.tv_sec;
        key[1] = (uint64_t)(uintptr_t)&now * UINT64_C(0xD1342543DE82EF95);
    }
    key[1] |= 1; /* an odd factor loses no bits */
}

static struct phy_pair_slot *slot_of(struct phy_pair_map *map, uint32_t high, uint32_t low)
{
    size_t mask = map->slot_count - 1, slot = phy_pair_hash(map, high, low) & mask;
    for (;; slot = (slot + 1) & mask) {
        struct phy_pair_slot *s = &map->slots[slot];
        if (s->value == PHY_PAIR_NONE || (s->high == high && s->low == low))
            return s;
    }
}

static bool double_slots(struct phy_pair_map *map)
{
    struct phy_pair_map grown = {.count = map->count, .slot_count = map->slot_count ? map->slot_count * 2 : 16};
    grown.slots = phy_alloc(grown.slot_count, sizeof *grown.slots);
    if (!grown.slots)
        return false;
    memset(grown.slots, 0xFF, grown.slot_count * sizeof *grown.slots); /* PHY_PAIR_NONE */
    choose_key(grown.key);
    for (size_t i = 0; i < map->slot_count; i++) {
        const struct phy_pair_slot *old = &map->slots[i];
        if (old->value != PHY_PAIR_NONE)
            *slot_of(&grown, old->high, old->low) = *old;
    }
    phy_free(map->slots);
    *map = grown;
    return true;
}

bool phy_pair_map_put(struct phy_pair_map *map, uint32_t high, uint32_t low, uint32_t value)
{
    if (map->count >= map->slot_count / 2 && !double_slots(map))
        return false;
    struct phy_pair_slot *slot = slot_of(map, high, low);
    map->count += slot->value == PHY_PAIR_NONE;
    *slot = (struct phy_pair_slot){high, low, value};
    return true;
}

void phy_pair_map_free(struct phy_pair_map *map)
{
    phy_free(map->slots);
    *map = (struct phy_pair_map){0};
}
