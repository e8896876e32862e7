/* SPDX-License-Identifier: Apache-2.0 */
/* Allocation with a seam: tests make the n-th allocation fail and look for leaks and crashes. */
#ifndef PHY_BASE_ALLOC_H
#define PHY_BASE_ALLOC_H

#include <stddef.h>
#include <stdint.h>

/* NULL on failure or when count * bytes overflows; zero bytes give a unique pointer. Free with phy_free. */
void *phy_alloc(size_t count, size_t bytes);
void *phy_zalloc(size_t count, size_t bytes);
/* As realloc: the old block stays valid on failure. */
void *phy_realloc(void *old, size_t count, size_t bytes);
/* 64-byte aligned; free with phy_free. */
void *phy_alloc_aligned(size_t bytes);
void phy_free(void *memory);
char *phy_strndup(const char *text, size_t bytes);

/* Test seam: the allocation after `after` more successful ones fails, and every later one; UINT64_MAX turns it off. */
void phy_alloc_fail_after(uint64_t after);

#endif
