/* SPDX-License-Identifier: Apache-2.0 */
/* Arithmetic on sizes that came from a file. Each returns false, and leaves *out alone, when the result does not fit.
 */
#ifndef PHY_BASE_CHECKED_MATH_H
#define PHY_BASE_CHECKED_MATH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

static inline bool phy_add_u64(uint64_t a, uint64_t b, uint64_t *out)
{
    uint64_t sum;
    if (__builtin_add_overflow(a, b, &sum))
        return false;
    *out = sum;
    return true;
}

static inline bool phy_mul_u64(uint64_t a, uint64_t b, uint64_t *out)
{
    uint64_t product;
    if (__builtin_mul_overflow(a, b, &product))
        return false;
    *out = product;
    return true;
}

static inline bool phy_mul_size(size_t a, size_t b, size_t *out)
{
    size_t product;
    if (__builtin_mul_overflow(a, b, &product))
        return false;
    *out = product;
    return true;
}

/* ceil(a / b) without overflow; b > 0. */
static inline uint64_t phy_ceil_div(uint64_t a, uint64_t b)
{
    return a / b + (a % b != 0);
}

static inline uint64_t phy_min_u64(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* Little-endian loads from any alignment: files are never cast to structs. */
static inline uint16_t phy_load_u16(const void *from)
{
    const unsigned char *p = from;
    return (uint16_t)(p[0] | p[1] << 8);
}

static inline uint32_t phy_load_u32(const void *from)
{
    const unsigned char *p = from;
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static inline uint64_t phy_load_u64(const void *from)
{
    const unsigned char *p = from;
    return (uint64_t)phy_load_u32(p) | (uint64_t)phy_load_u32(p + 4) << 32;
}

static inline void phy_store_u16(void *to, uint16_t value)
{
    unsigned char *p = to;
    p[0] = (unsigned char)value;
    p[1] = (unsigned char)(value >> 8);
}

static inline void phy_store_u32(void *to, uint32_t value)
{
    unsigned char *p = to;
    for (int i = 0; i < 4; i++)
        p[i] = (unsigned char)(value >> 8 * i);
}

static inline void phy_store_u64(void *to, uint64_t value)
{
    unsigned char *p = to;
    for (int i = 0; i < 8; i++)
        p[i] = (unsigned char)(value >> 8 * i);
}

#endif
