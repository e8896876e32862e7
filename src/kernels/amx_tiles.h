/* SPDX-License-Identifier: Apache-2.0 */
/* The registers of AMX: eight tiles of up to 16 rows of 64 bytes. A product C += A B takes 16 cycles for 16 rows of A,
 * however long they are, up to 64 bytes. The numbers of tiles are literals, as the intrinsics demand. */
#ifndef PHY_KERNELS_AMX_TILES_H
#define PHY_KERNELS_AMX_TILES_H

#include <immintrin.h>
#include <stdint.h>
#include <string.h>

enum { TILES = 8, TILE_ROWS = 16, TILE_ROW_BYTES = 64 };

/* What LDTILECFG reads. */
struct tile_shapes {
    uint8_t palette, start_row, reserved[14];
    uint16_t row_bytes[TILES], more_row_bytes[8];
    uint8_t rows[TILES], more_rows[8];
};
_Static_assert(sizeof(struct tile_shapes) == 64, "the instruction reads 64 bytes");

/* What was stored is in memory before tiles are loaded: gcc 12's intrinsics don't say what they read. */
#define tiles_see_memory() __asm__ volatile("" ::: "memory")

static inline void configure_tiles(const struct tile_shapes *shapes)
{
    __asm__ volatile("" ::"r"(shapes) : "memory"); /* all of it, where gcc 12's intrinsic names 8 bytes */
    _tile_loadconfig(shapes);
}

#endif
