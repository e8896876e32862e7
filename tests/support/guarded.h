/* SPDX-License-Identifier: Apache-2.0 */
/* Buffers with an unreadable page on either side: a kernel that strays by one byte is stopped on the spot. */
#ifndef PHY_TESTS_SUPPORT_GUARDED_H
#define PHY_TESTS_SUPPORT_GUARDED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

struct guarded {
    void *data;
    char *map;
    size_t map_bytes;
};

/* `at_end`: the last byte of data is the last before the page behind; else the first byte follows the page in front. */
static inline struct guarded guarded_create(size_t bytes, bool at_end)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t inner = (bytes + page - 1) / page * page;
    struct guarded g = {.map_bytes = inner + 2 * page};
    g.map = mmap(NULL, g.map_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(g.map != MAP_FAILED);
    assert_int_equal(mprotect(g.map, page, PROT_NONE), 0);
    assert_int_equal(mprotect(g.map + page + inner, page, PROT_NONE), 0);
    g.data = g.map + page + (at_end ? inner - bytes : 0);
    return g;
}

static inline void guarded_destroy(struct guarded *g)
{
    munmap(g->map, g->map_bytes);
    *g = (struct guarded){0};
}

#endif
