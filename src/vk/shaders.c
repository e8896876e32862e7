/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <string.h>

#include "matmul_modules.h"
#include "vk/embed.h"
#include "vk/vk.h"
#include "vk/vk_cache.h"

EMBED(phy_spirv_flow_tile, "flow_tile.spv");
EMBED(phy_spirv_rank_rows, "rank_rows.spv");
EMBED(phy_spirv_self_test, "self_test.spv");

struct vk_spirv phy_vk_spirv_flow_tile(void)
{
    return (struct vk_spirv){phy_spirv_flow_tile,
                             (size_t)((const char *)phy_spirv_flow_tile_end - (const char *)phy_spirv_flow_tile)};
}

struct vk_spirv phy_vk_spirv_rank_rows(void)
{
    return (struct vk_spirv){phy_spirv_rank_rows,
                             (size_t)((const char *)phy_spirv_rank_rows_end - (const char *)phy_spirv_rank_rows)};
}

struct vk_spirv phy_vk_spirv_self_test(void)
{
    return (struct vk_spirv){phy_spirv_self_test,
                             (size_t)((const char *)phy_spirv_self_test_end - (const char *)phy_spirv_self_test)};
}

/* PHY_MATMUL_MODULES(X) is X(name) for each module that the build made. */
#define EMBED_MODULE(name) EMBED(phy_spirv_##name, #name ".spv");
PHY_MATMUL_MODULES(EMBED_MODULE)

#define LIST_MODULE(name) {#name, phy_spirv_##name, phy_spirv_##name##_end},
static const struct {
    const char *name;
    const uint32_t *begin, *end;
} modules[] = {PHY_MATMUL_MODULES(LIST_MODULE)};

uint64_t phy_vk_spirv_digest(void)
{
    uint64_t digest = VK_DIGEST_START;
    for (size_t i = 0; i < sizeof modules / sizeof *modules; i++)
        digest = phy_vk_digest(digest, modules[i].begin,
                               (size_t)((const char *)modules[i].end - (const char *)modules[i].begin));
    return digest;
}

bool phy_vk_shader(size_t index, const char **name, uint64_t *digest)
{
    if (index >= sizeof modules / sizeof *modules)
        return false;
    *name = modules[index].name;
    *digest = phy_vk_digest(VK_DIGEST_START, modules[index].begin,
                            (size_t)((const char *)modules[index].end - (const char *)modules[index].begin));
    return true;
}

struct vk_spirv phy_vk_spirv_named(const char *name)
{
    size_t i = 0;
    while (strcmp(modules[i].name, name) != 0) {
        i++;
        assert(i < sizeof modules / sizeof *modules);
    }
    return (struct vk_spirv){modules[i].begin, (size_t)((const char *)modules[i].end - (const char *)modules[i].begin)};
}
