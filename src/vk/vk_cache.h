/* SPDX-License-Identifier: Apache-2.0 */
/* What a device need not work out twice: files under $XDG_CACHE_HOME/physarium (or ~/.cache/physarium), one for each
 * device, driver version, set of shaders and kind. */
#ifndef PHY_VK_VK_CACHE_H
#define PHY_VK_VK_CACHE_H

#include <stddef.h>
#include <stdint.h>

/* What a file must have been written for: pipelineCacheUUID, driver and shaders. */
struct vk_cache_key {
    uint8_t uuid[16];
    uint32_t vendor, device, driver;
    uint64_t shaders; /* digest */
};

uint64_t phy_vk_digest(uint64_t digest, const void *bytes, size_t count);
enum { VK_DIGEST_START = 1 };

/* The content last written under that key and kind ("pipelines"); NULL, silently, if there is none, or the file is of
 * another key, damaged or too large. The caller's to phy_free. `directory` NULL: the user's. */
void *phy_vk_cache_read(const char *directory, const struct vk_cache_key *key, const char *kind, size_t *bytes);
/* Whole or not at all; silent when that fails. */
void phy_vk_cache_write(const char *directory, const struct vk_cache_key *key, const char *kind, const void *content,
                        size_t bytes);

#endif
