/* SPDX-License-Identifier: Apache-2.0 */
#include "format/name_set.h"

#include <pthread.h>
#include <stdbool.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "base/alloc.h"
#include "base/checked_math.h"
#include "format/array.h"

static uint64_t hash_key[2];
static pthread_once_t hash_key_once = PTHREAD_ONCE_INIT;

static void choose_hash_key(void)
{
    if (getrandom(hash_key, sizeof hash_key, GRND_NONBLOCK) == (ssize_t)sizeof hash_key)
        return;
    /* Too early after boot for random bytes: the clock and the address space layout are what is left. */
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    hash_key[0] = (uint64_t)now.tv_nsec * UINT64_C(0x9E3779B97F4A7C15) ^ (uint64_t)now.tv_sec;
    hash_key[1] = (uint64_t)(uintptr_t)&now;
}

static inline uint64_t rotate(uint64_t x, int bits)
{
    return x << bits | x >> (64 - bits);
}

static inline void sip_round(uint64_t v[4])
{
    v[0] += v[1];
    v[1] = rotate(v[1], 13) ^ v[0];
    v[0] = rotate(v[0], 32);
    v[2] += v[3];
    v[3] = rotate(v[3], 16) ^ v[2];
    v[0] += v[3];
    v[3] = rotate(v[3], 21) ^ v[0];
    v[2] += v[1];
    v[1] = rotate(v[1], 17) ^ v[2];
    v[2] = rotate(v[2], 32);
}

/* SipHash-1-3, as the hash tables of Rust and Ruby use it; the scope is hashed as a last word. */
static uint32_t hash_name(uint32_t scope, const char *text, size_t bytes)
{
    uint64_t v[4] = {hash_key[0] ^ UINT64_C(0x736f6d6570736575), hash_key[1] ^ UINT64_C(0x646f72616e646f6d),
                     hash_key[0] ^ UINT64_C(0x6c7967656e657261), hash_key[1] ^ UINT64_C(0x7465646279746573)};
    size_t whole = bytes / 8 * 8;
    for (size_t i = 0; i < whole; i += 8) {
        uint64_t word = phy_load_u64(text + i);
        v[3] ^= word;
        sip_round(v);
        v[0] ^= word;
    }
    unsigned char tail[8] = {0};
    memcpy(tail, text + whole, bytes - whole);
    tail[7] = (unsigned char)bytes;
    uint64_t last[2] = {phy_load_u64(tail), scope};
    for (int i = 0; i < 2; i++) {
        v[3] ^= last[i];
        sip_round(v);
        v[0] ^= last[i];
    }
    v[2] ^= 0xFF;
    for (int i = 0; i < 3; i++)
        sip_round(v);
    uint64_t hash = v[0] ^ v[1] ^ v[2] ^ v[3];
    return (uint32_t)(hash ^ hash >> 32);
}

/* The slot that holds the name, or the free one where it would stand. */
static size_t slot_of(const struct phy_name_set *set, uint32_t hash, uint32_t scope, const char *text, size_t bytes)
{
    size_t mask = set->slot_count - 1, slot = hash & mask;
    for (; set->slots[slot]; slot = (slot + 1) & mask) {
        const struct phy_name *name = &set->names[set->slots[slot] - 1];
        if (name->hash == hash && name->scope == scope && name->bytes == bytes && memcmp(name->text, text, bytes) == 0)
            break;
    }
    return slot;
}

/* At most half of the slots are taken. The old ones are given back first: the new ones are filled from the names. */
static bool double_slots(struct phy_name_set *set)
{
    size_t slot_count = set->slot_count ? set->slot_count * 2 : 64;
    phy_free(set->slots);
    set->slots = phy_zalloc(slot_count, sizeof *set->slots);
    set->slot_count = set->slots ? slot_count : 0;
    if (!set->slots)
        return false;
    for (size_t i = 0; i < set->count; i++) {
        size_t slot = set->names[i].hash & (slot_count - 1);
        while (set->slots[slot])
            slot = (slot + 1) & (slot_count - 1);
        set->slots[slot] = (uint32_t)i + 1;
    }
    return true;
}

enum phy_name_added phy_name_set_add(struct phy_name_set *set, uint32_t scope, const char *text, size_t bytes,
                                     uint32_t value, struct phy_name **found)
{
    pthread_once(&hash_key_once, choose_hash_key);
    if (set->count >= UINT32_MAX - 1 || bytes > UINT32_MAX)
        return PHY_NAME_NO_MEMORY;
    if (set->count >= set->slot_count / 2 && !double_slots(set))
        return PHY_NAME_NO_MEMORY;
    uint32_t hash = hash_name(scope, text, bytes);
    size_t slot = slot_of(set, hash, scope, text, bytes);
    if (set->slots[slot]) {
        if (found)
            *found = &set->names[set->slots[slot] - 1];
        return PHY_NAME_DUPLICATE;
    }
    struct phy_name *names = phy_array_reserve(set->names, &set->capacity, set->count + 1, sizeof *names);
    if (!names)
        return PHY_NAME_NO_MEMORY;
    set->names = names;
    names[set->count] =
        (struct phy_name){.text = text, .bytes = (uint32_t)bytes, .scope = scope, .hash = hash, .value = value};
    if (found)
        *found = &names[set->count];
    set->slots[slot] = (uint32_t)++set->count;
    return PHY_NAME_NEW;
}

struct phy_name *phy_name_set_find(const struct phy_name_set *set, uint32_t scope, const char *text, size_t bytes)
{
    if (!set->count)
        return NULL;
    size_t slot = slot_of(set, hash_name(scope, text, bytes), scope, text, bytes);
    return set->slots[slot] ? &set->names[set->slots[slot] - 1] : NULL;
}

void phy_name_set_free(struct phy_name_set *set)
{
    phy_free(set->names);
    phy_free(set->slots);
    *set = (struct phy_name_set){0};
}
