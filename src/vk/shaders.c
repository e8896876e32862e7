/* SPDX-License-Identifier: Apache-2.0 */
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
EMBED(phy_spirv_self_test, "self_test.spv");
EMBED(phy_spirv_matmul, "matmul.spv");
EMBED(phy_spirv_ffn_gate, "ffn_gate.spv");

struct vk_spirv phy_vk_spirv_flow_tile(void)
{
    return (struct vk_spirv){phy_spirv_flow_tile,
                             (size_t)((const char *)phy_spirv_flow_tile_end - (const char *)phy_spirv_flow_tile)};
}

struct vk_spirv phy_vk_spirv_self_test(void)
{
    return (struct vk_spirv){phy_spirv_self_test,
                             (size_t)((const char *)phy_spirv_self_test_end - (const char *)phy_spirv_self_test)};
}

struct vk_spirv phy_vk_spirv_matmul(void)
{
    return (struct vk_spirv){phy_spirv_matmul,
                             (size_t)((const char *)phy_spirv_matmul_end - (const char *)phy_spirv_matmul)};
}

struct vk_spirv phy_vk_spirv_ffn_gate(void)
{
    return (struct vk_spirv){phy_spirv_ffn_gate,
                             (size_t)((const char *)phy_spirv_ffn_gate_end - (const char *)phy_spirv_ffn_gate)};
}
