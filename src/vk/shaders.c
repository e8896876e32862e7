/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>

#include "matmul_modules.h"
#include "vk/vk.h"

#define EMBED(symbol, file)                                                                                            \
    __asm__(".section .rodata\n"                                                                                       \
            ".balign 4\n"                                                                                              \
            ".globl " #symbol "\n.hidden " #symbol "\n" #symbol ":\n"                                                  \
            ".incbin \"" PHY_SPIRV_DIR "/" file "\"\n"                                                                 \
            ".globl " #symbol "_end\n.hidden " #symbol "_end\n" #symbol "_end:\n"                                      \
            ".previous\n");                                                                                            \
    extern const uint32_t symbol[], symbol##_end[]

EMBED(phy_spirv_flow_tile, "flow_tile.spv");
EMBED(phy_spirv_rank_rows, "rank_rows.spv");
EMBED(phy_spirv_self_test, "self_test.spv");
EMBED(phy_spirv_ffn_gate, "ffn_gate.spv");

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

struct vk_spirv phy_vk_spirv_ffn_gate(void)
{
    return (struct vk_spirv){phy_spirv_ffn_gate,
                             (size_t)((const char *)phy_spirv_ffn_gate_end - (const char *)phy_spirv_ffn_gate)};
}

/* PHY_MATMUL_MODULES(X) is X(type, rows, count) for each module that the build made. */
#define EMBED_MODULE(type, rows, count)                                                                                \
    EMBED(phy_spirv_matmul_##type##_##rows##x##count, "matmul_" #type "_" #rows "x" #count ".spv");
PHY_MATMUL_MODULES(EMBED_MODULE)

struct vk_spirv phy_vk_spirv_matmul(enum phy_weight_type type, uint32_t rows, uint32_t count)
{
#define LIST_MODULE(type, rows, count)                                                                                 \
    {type, rows, count, phy_spirv_matmul_##type##_##rows##x##count, phy_spirv_matmul_##type##_##rows##x##count##_end},
    static const struct {
        uint32_t type, rows, count;
        const uint32_t *begin, *end;
    } modules[] = {PHY_MATMUL_MODULES(LIST_MODULE)};
    size_t i = 0;
    while (modules[i].type != type || modules[i].rows != rows || modules[i].count != count) {
        i++;
        assert(i < sizeof modules / sizeof *modules);
    }
    return (struct vk_spirv){modules[i].begin, (size_t)((const char *)modules[i].end - (const char *)modules[i].begin)};
}
