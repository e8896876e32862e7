/* SPDX-License-Identifier: Apache-2.0 */
#include "vk/vk_cache.h"

#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/alloc.h"
#include "base/io.h"
#include "base/whole_file.h"

/* A file: this, then the content. Written and read on one machine only, so in its byte order. */
struct head {
    char magic[8];
    struct vk_cache_key key;
    uint64_t bytes, digest; /* of the content */
};
static const char magic[8] = "PHYVKC1";
/* More is no cache of ours. */
static const uint64_t most_bytes = (uint64_t)256 << 20;

/* FNV-1a on 8 bytes at a time, mixed at the end: finds damage, withstands no one. */
uint64_t phy_vk_digest(uint64_t digest, const void *bytes, size_t count)
{
    const unsigned char *at = bytes;
    for (; count; at += count < 8 ? count : 8, count -= count < 8 ? count : 8) {
        uint64_t word = count < 8 ? count << 56 : 0; /* the length of the last, short word too */
        memcpy(&word, at, count < 8 ? count : 8);
        digest = (digest ^ word) * UINT64_C(0x100000001B3);
        digest ^= digest >> 29;
    }
    return digest;
}

static bool make_path(char *path, size_t room, const char *directory, const struct vk_cache_key *key, const char *kind,
                      bool create)
{
    const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    int used;
    if (directory)
        used = snprintf(path, room, "%s", directory);
    else if (cache && cache[0] == '/')
        used = snprintf(path, room, "%s", cache);
    else if (home && home[0] == '/')
        used = snprintf(path, room, "%s/.cache", home);
    else
        return false;
    if (used <= 0 || (size_t)used + 64 >= room)
        return false;
    if (create)
        (void)mkdir(path, 0777);
    used += snprintf(path + used, room - (size_t)used, "/physarium");
    if (create)
        (void)mkdir(path, 0777);
    const uint64_t name = phy_vk_digest(VK_DIGEST_START, key, sizeof *key);
    snprintf(path + used, room - (size_t)used, "/vulkan-%016llx.%s", (unsigned long long)name, kind);
    return true;
}

enum { PATH_BYTES = 1024 };

static void *read_content(int fd, const struct vk_cache_key *key, size_t *bytes)
{
    struct head head;
    struct stat info;
    if (fstat(fd, &info) != 0 || phy_pread_all(fd, &head, sizeof head, 0) != 0 ||
        memcmp(head.magic, magic, sizeof magic) != 0 || memcmp(&head.key, key, sizeof *key) != 0 || head.bytes == 0 ||
        head.bytes > most_bytes || (uint64_t)info.st_size != head.bytes + sizeof head)
        return NULL;
    void *content = phy_alloc(head.bytes, 1);
    if (!content)
        return NULL;
    if (phy_pread_all(fd, content, head.bytes, sizeof head) != 0 ||
        phy_vk_digest(VK_DIGEST_START, content, head.bytes) != head.digest) {
        phy_free(content);
        return NULL;
    }
    *bytes = head.bytes;
    return content;
}

void *phy_vk_cache_read(const char *directory, const struct vk_cache_key *key, const char *kind, size_t *bytes)
{
    char path[PATH_BYTES];
    *bytes = 0;
    if (!make_path(path, sizeof path, directory, key, kind, false))
        return NULL;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return NULL;
    void *content = read_content(fd, key, bytes);
    phy_close(fd);
    return content;
}

struct piece {
    const struct head *head;
    const void *content;
};

static int fill(const void *user, int fd)
{
    const struct piece *piece = user;
    int error = phy_write_all(fd, piece->head, sizeof *piece->head);
    return error ? error : phy_write_all(fd, piece->content, piece->head->bytes);
}

void phy_vk_cache_write(const char *directory, const struct vk_cache_key *key, const char *kind, const void *content,
                        size_t bytes)
{
    char path[PATH_BYTES];
    struct head head;
    if (bytes == 0 || bytes > most_bytes || !make_path(path, sizeof path, directory, key, kind, true))
        return;
    memset(&head, 0, sizeof head);
    memcpy(head.magic, magic, sizeof magic);
    head.key = *key;
    head.bytes = bytes;
    head.digest = phy_vk_digest(VK_DIGEST_START, content, bytes);
    (void)phy_write_whole_file(path, fill, &(struct piece){&head, content}, NULL);
}
