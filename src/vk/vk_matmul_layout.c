/* SPDX-License-Identifier: Apache-2.0 */
/* Rows of blocks from their order on disk (docs/quant.md) to a device's (shaders/shared/weight_layout.h). No value
 * changes; scales that a shader would have to round are widened or multiplied here where the result is exact. */
#include <string.h>

#include "base/checked_math.h"
#include "quant/fp8.h"
#include "quant/k_scales.h"
#include "shared/weight_layout.h"
#include "vk/vk_matmul_parts.h"

enum { COLS = PHY_UNIT_COLS, UNITS = PHY_SUPER_UNITS };

uint32_t phy_vk_row_words(enum phy_weight_type type, uint32_t cols)
{
    const uint32_t units = (cols + COLS - 1) / COLS, supers = (units + UNITS - 1) / UNITS;
    return (uint32_t)PHY_LAYOUT_ROW(type, units, supers);
}

/* ---- codes of one unit, in the order of its columns ---- */

static void low_and_high(const uint8_t *from, size_t count, uint8_t *codes)
{
    for (size_t i = 0; i < count; i++) {
        codes[i] = from[i] & 15;
        codes[count + i] = from[i] >> 4;
    }
}

static void q4_k_codes(const uint8_t *block, uint32_t n, uint8_t codes[COLS])
{
    const uint8_t *qs = block + 16 + 32 * (n / 2);
    for (int i = 0; i < COLS; i++)
        codes[i] = qs[i] >> 4 * (n % 2) & 15;
}

static void q6_k_codes(const uint8_t *block, uint32_t n, uint8_t codes[COLS])
{
    const uint32_t half = n / 4, run = n % 4;
    const uint8_t *ql = block + 64 * half + 32 * (run % 2), *qh = block + 128 + 32 * half;
    for (int i = 0; i < COLS; i++)
        codes[i] = (uint8_t)((ql[i] >> 4 * (run / 2) & 15) | (qh[i] >> 2 * run & 3) << 4);
}

static void fp4_codes(const uint8_t *block, uint32_t n, uint8_t codes[COLS])
{
    for (int i = 0; i < COLS / 2; i++) {
        codes[2 * i] = block[16 * n + (uint32_t)i] & 15;
        codes[2 * i + 1] = block[16 * n + (uint32_t)i] >> 4;
    }
}

/* Unit n of the 8 of a block of 256; of a block of 32, n is 0. */
static void unit_codes(enum phy_weight_type type, const uint8_t *block, uint32_t n, uint8_t codes[COLS])
{
    switch (type) {
    case PHY_WEIGHT_Q8_0:
        memcpy(codes, block + 2, COLS);
        break;
    case PHY_WEIGHT_Q4_0:
        low_and_high(block + 2, COLS / 2, codes);
        break;
    case PHY_WEIGHT_MXFP4:
        low_and_high(block + 1, COLS / 2, codes);
        break;
    case PHY_WEIGHT_Q4_K:
        q4_k_codes(block, n, codes);
        break;
    case PHY_WEIGHT_Q6_K:
        q6_k_codes(block, n, codes);
        break;
    case PHY_WEIGHT_FP4:
        fp4_codes(block, n, codes);
        break;
    default:
        memcpy(codes, block + (size_t)COLS * n, COLS); /* fp8 */
    }
}

/* ---- packing, as weight_layout.h draws it ---- */

static void put_codes(enum phy_weight_type type, const uint8_t codes[COLS], uint32_t *to)
{
    const bool nibbles = PHY_LAYOUT_CODES(type) == 1;
    for (uint32_t i = 0; i < COLS; i++) {
        const uint32_t side = i / 16, j = i % 16 / 4, c = i % 4;
        if (nibbles)
            to[c] |= (codes[i] & 15u) << (8 * j + 4 * side);
        else
            to[4 * side + c] |= (uint32_t)codes[i] << 8 * j;
    }
}

static void put_high(const uint8_t codes[COLS], uint32_t to[2])
{
    for (uint32_t i = 0; i < COLS; i++) {
        const uint32_t side = i / 16, j = i % 16 / 4, c = i % 4;
        to[c / 2] |= (uint32_t)(codes[i] >> 4) << (8 * j + 4 * (c % 2) + 2 * side);
    }
}

static void q4_k_head(const uint8_t *block, uint32_t to[4])
{
    to[0] = phy_load_u32(block);
    to[1] = to[2] = to[3] = 0;
    for (int n = 0; n < UNITS; n++) {
        const uint32_t s = (uint32_t)phy_k_scale(block + 4, n), m = (uint32_t)phy_k_minimum(block + 4, n);
        to[1] |= (s & 15) << 4 * n;
        to[2] |= (m & 15) << 4 * n;
        to[3] |= (s >> 4 | m >> 4 << 2) << 4 * n;
    }
}

static void fp4_head(const uint8_t *block, uint32_t to[4])
{
    const float whole = phy_e4m3_widen(block[136]);
    for (int n = 0; n < UNITS; n++) {
        const float scale = whole == 0 ? 0 : phy_e4m3_widen(block[128 + n]) * whole;
        to[n / 2] |= phy_bits_of_float(scale) >> 16 << 16 * (n % 2);
    }
}

/* What each block says of the scales of its units; `n` is the first of those. */
static void put_head(enum phy_weight_type type, const uint8_t *block, uint32_t n, uint32_t *head, uint32_t *scale)
{
    switch (type) {
    case PHY_WEIGHT_Q8_0:
    case PHY_WEIGHT_Q4_0:
        head[n / 2] |= (uint32_t)phy_load_u16(block) << 16 * (n % 2);
        break;
    case PHY_WEIGHT_MXFP4:
        head[n / 4] |= (uint32_t)block[0] << 8 * (n % 4);
        break;
    case PHY_WEIGHT_Q4_K:
        q4_k_head(block, head);
        break;
    case PHY_WEIGHT_Q6_K:
        for (int i = 0; i < 4; i++)
            head[i] = phy_load_u32(block + 192 + 4 * i);
        *scale = phy_bits_of_float(phy_f16_load(block + 208));
        break;
    case PHY_WEIGHT_FP4:
        fp4_head(block, head);
        break;
    default:
        *scale = phy_bits_of_float(phy_e4m3_widen(block[256])); /* fp8 */
    }
}

static void lay_blocks(enum phy_weight_type type, const uint8_t *from, uint32_t cols, uint32_t *to)
{
    const struct phy_quant_format *format = phy_weight_format(type);
    const uint32_t units = (cols + COLS - 1) / COLS, supers = (units + UNITS - 1) / UNITS;
    const uint32_t block_units = format->elements / COLS;
    uint32_t *high = to + 4 * PHY_LAYOUT_HIGH_AT(type, units), *heads = to + 4 * PHY_LAYOUT_HEADS_AT(type, units);
    uint32_t *scales = to + 4 * PHY_LAYOUT_SCALES_AT(type, units, supers);
    for (uint32_t u = 0; u < units; u++) {
        const uint8_t *block = from + (size_t)(u / block_units) * format->bytes;
        uint8_t codes[COLS];
        unit_codes(type, block, u % block_units, codes);
        for (uint32_t i = cols - COLS * u; i < COLS; i++)
            codes[i] = 0; /* an fp8 NaN there would spoil the sum: NaN times the zero of x */
        put_codes(type, codes, to + 4 * PHY_LAYOUT_CODES(type) * u);
        if (PHY_LAYOUT_HIGH(type))
            put_high(codes, high + 2 * u);
        if (u % block_units == 0)
            put_head(type, block, u % UNITS, heads + u / UNITS * PHY_LAYOUT_HEADS(type), scales + u / UNITS);
    }
}

void phy_vk_lay_row(enum phy_weight_type type, const void *from, uint32_t cols, void *to)
{
    const size_t bytes = (size_t)phy_vk_row_words(type, cols) * 16;
    if (type < PHY_WEIGHT_FLOAT_COUNT) {
        const size_t stored = cols * phy_weight_float_bytes(type);
        memcpy(to, from, stored);
        memset((char *)to + stored, 0, bytes - stored);
        return;
    }
    memset(to, 0, bytes);
    lay_blocks(type, from, cols, to);
}
