/* SPDX-License-Identifier: Apache-2.0 */
#include "format/names.h"

#include <string.h>
#include <sys/random.h>
#include <xxhash.h>

#include "base/alloc.h"

static uint64_t fresh_seed(const struct phy_names *names)
{
    uint64_t seed;
    if (getrandom(&seed, sizeof seed, GRND_NONBLOCK) != (ssize_t)sizeof seed)
        seed = (uint64_t)(uintptr_t)names * UINT64_C(0x9E3779B97F4A7C15);
    return seed;
}

/* The slot that holds the name, or the empty one where it belongs. slot_count > 0. */
static size_t slot_of(const struct phy_names *names, const char *name, size_t bytes)
{
    size_t slot = (size_t)XXH3_64bits_withSeed(name, bytes, names->seed) & (names->slot_count - 1);
    for (;; slot = (slot + 1) & (names->slot_count - 1)) {
        if (names->slots[slot] == 0)
            return slot;
        size_t have_bytes;
        const char *have = phy_names_at(names, names->slots[slot] - 1, &have_bytes);
        if (have_bytes == bytes && memcmp(have, name, bytes) == 0)
            return slot;
    }
}

/* Keep at least half of the slots empty. */
static bool grow_slots(struct phy_names *names)
{
    if (names->count < names->slot_count / 2)
        return true;
    size_t grown = names->slot_count ? names->slot_count * 2 : 16;
    uint32_t *slots = phy_zalloc(grown, sizeof *slots);
    if (!slots)
        return false;
    phy_free(names->slots);
    names->slots = slots;
    names->slot_count = grown;
    for (size_t i = 0; i < names->count; i++) {
        size_t bytes;
        const char *name = phy_names_at(names, i, &bytes);
        names->slots[slot_of(names, name, bytes)] = (uint32_t)(i + 1);
    }
    return true;
}

static bool grow_lists(struct phy_names *names, size_t bytes)
{
    if (names->count + 2 > names->capacity) {
        size_t capacity = names->capacity ? names->capacity * 2 : 16;
        size_t *starts = phy_realloc(names->starts, capacity, sizeof *starts);
        if (!starts)
            return false;
        names->starts = starts;
        names->capacity = capacity;
    }
    if (bytes >= names->text_capacity - names->text_bytes) {
        size_t capacity = (names->text_bytes + bytes + 1) + (names->text_bytes + bytes) / 2;
        char *text = phy_realloc(names->text, capacity, 1);
        if (!text)
            return false;
        names->text = text;
        names->text_capacity = capacity;
    }
    return true;
}

enum phy_names_result phy_names_add(struct phy_names *names, const char *name, size_t bytes, size_t *index)
{
    if (!names->slots)
        names->seed = fresh_seed(names);
    if (bytes >= SIZE_MAX / 4 - names->text_bytes || names->count >= UINT32_MAX - 1 || !grow_slots(names))
        return PHY_NAMES_NO_MEMORY;
    size_t slot = slot_of(names, name, bytes);
    if (names->slots[slot]) {
        *index = names->slots[slot] - 1;
        return PHY_NAMES_DUPLICATE;
    }
    if (!grow_lists(names, bytes))
        return PHY_NAMES_NO_MEMORY;
    memcpy(names->text + names->text_bytes, name, bytes);
    names->starts[names->count] = names->text_bytes;
    names->text_bytes += bytes;
    names->text[names->text_bytes++] = 0;
    *index = names->count++;
    names->starts[names->count] = names->text_bytes;
    names->slots[slot] = (uint32_t)names->count;
    return PHY_NAMES_ADDED;
}

bool phy_names_find(const struct phy_names *names, const char *name, size_t bytes, size_t *index)
{
    if (names->count == 0)
        return false;
    uint32_t found = names->slots[slot_of(names, name, bytes)];
    if (found)
        *index = found - 1;
    return found != 0;
}

const char *phy_names_at(const struct phy_names *names, size_t index, size_t *bytes)
{
    if (bytes)
        *bytes = names->starts[index + 1] - names->starts[index] - 1;
    return names->text + names->starts[index];
}

void phy_names_free(struct phy_names *names)
{
    phy_free(names->text);
    phy_free(names->starts);
    phy_free(names->slots);
    *names = (struct phy_names){0};
}
