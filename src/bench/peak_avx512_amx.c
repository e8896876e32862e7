/* SPDX-License-Identifier: Apache-2.0 */
/* Tiles of AMX: 16 rows of 64 bytes, four chains of sums. */
#include <immintrin.h>
#include <string.h>

#include "bench/peak.h"

enum { CHAINS = 4, ROWS = 16, LANES = 16 };

/* All eight tiles whole; four zeros, 4 and 6 whose rows are those bytes. */
static void begin(const void *row)
{
    static const uint8_t shapes[64] = {
        1,         [16] = 64, [18] = 64, [20] = 64, [22] = 64, [24] = 64, [26] = 64, [28] = 64, [30] = 64,
        [48] = 16, [49] = 16, [50] = 16, [51] = 16, [52] = 16, [53] = 16, [54] = 16, [55] = 16};
    _tile_loadconfig(shapes);
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    __asm__ volatile("" ::"r"(row) : "memory");
    _tile_loadd(4, row, 0);
    _tile_loadd(6, row, 0);
}

static void end(void *sums)
{
    char *to = sums;
    _tile_stored(0, to, 64);
    _tile_stored(1, to + 1024, 64);
    _tile_stored(2, to + 2048, 64);
    _tile_stored(3, to + 3072, 64);
    _tile_release();
}

uint32_t phy_peak_multiply_i8_amx(uint64_t rounds, const int8_t *one)
{
    uint32_t sum[CHAINS * ROWS * LANES], all = 0;
    begin(one);
    for (uint64_t r = 0; r < rounds; r++) {
        _tile_dpbssd(0, 4, 6);
        _tile_dpbssd(1, 4, 6);
        _tile_dpbssd(2, 4, 6);
        _tile_dpbssd(3, 4, 6);
    }
    end(sum);
    for (size_t i = 0; i < CHAINS * ROWS * LANES; i++)
        all += sum[i];
    return all;
}

double phy_peak_multiply_bf16_amx(uint64_t rounds, float one)
{
    float sum[CHAINS * ROWS * LANES];
    uint16_t codes[2 * LANES];
    uint32_t bits;
    double all = 0;
    memcpy(&bits, &one, sizeof bits);
    for (size_t i = 0; i < 2 * LANES; i++)
        codes[i] = (uint16_t)(bits >> 16);
    begin(codes);
    for (uint64_t r = 0; r < rounds; r++) {
        _tile_dpbf16ps(0, 4, 6);
        _tile_dpbf16ps(1, 4, 6);
        _tile_dpbf16ps(2, 4, 6);
        _tile_dpbf16ps(3, 4, 6);
    }
    end(sum);
    for (size_t i = 0; i < CHAINS * ROWS * LANES; i++)
        all += (double)sum[i];
    return all;
}
