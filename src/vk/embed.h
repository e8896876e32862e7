/* SPDX-License-Identifier: Apache-2.0 */
/* EMBED(symbol, "name.spv"): a module of the build as the words symbol[] .. symbol_end[], hidden. */
#ifndef PHY_VK_EMBED_H
#define PHY_VK_EMBED_H

#include <stdint.h>

#define EMBED(symbol, file)                                                                                            \
    __asm__(".section .rodata\n"                                                                                       \
            ".balign 4\n"                                                                                              \
            ".globl " #symbol "\n.hidden " #symbol "\n" #symbol ":\n"                                                  \
            ".incbin \"" PHY_SPIRV_DIR "/" file "\"\n"                                                                 \
            ".globl " #symbol "_end\n.hidden " #symbol "_end\n" #symbol "_end:\n"                                      \
            ".previous\n");                                                                                            \
    extern const uint32_t symbol[], symbol##_end[]

#endif
