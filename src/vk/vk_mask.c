/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "vk/vk.h"

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the lanes below stand in a word from low to high");

uint32_t phy_vk_mask_count(const struct vk_mask_tile *tile)
{
    uint32_t count = 0, words = tile->block * tile->block / 32;
    for (uint32_t i = 0; i < words; i++)
        count += (uint32_t)__builtin_popcount(tile->words[i]);
    return count;
}

/* Bits of 8 cells of row r from column c, a multiple of 8: they lie in one word because a patch is 8, 16 or 32 wide. */
static uint32_t eight_bits(const struct vk_mask_tile *tile, uint32_t r, uint32_t c)
{
    uint32_t rows = tile->shape->rows, cols = tile->shape->cols;
    uint32_t patch = r / rows * (tile->block / cols) + c / cols;
    uint32_t bit = patch * (rows * cols) + r % rows * cols + c % cols;
    return tile->words[bit / 32] >> (bit % 32) & 0xFFu;
}

/* Four bits to four 16-bit lanes of ones where the bit is clear. The factor puts bit k at 16 k, among others that the
 * AND removes: k + 15 m = 16 n only for k = m = n. */
static uint64_t keep_lanes(uint32_t bits)
{
    uint64_t set = bits * UINT64_C(0x0000200040008001) & UINT64_C(0x0001000100010001);
    return ~(set * 0xFFFF);
}

static void clear_eight_halves(uint16_t *codes, uint32_t bits)
{
    uint64_t lanes[2];
    memcpy(lanes, codes, sizeof lanes);
    lanes[0] &= keep_lanes(bits & 15);
    lanes[1] &= keep_lanes(bits >> 4);
    memcpy(codes, lanes, sizeof lanes);
}

void phy_vk_mask_apply(const struct vk_mask_tile *tile, void *codes, uint64_t row_stride, enum phy_float_type type)
{
    size_t code_bytes = phy_float_bytes(type);
    for (uint32_t r = 0; r < tile->rows; r++) {
        char *row = (char *)codes + r * row_stride * code_bytes;
        for (uint32_t c = 0; c < tile->cols; c += 8) {
            uint32_t bits = eight_bits(tile, r, c);
            char *at = row + c * code_bytes;
            if (code_bytes == 2 && c + 8 <= tile->cols) {
                clear_eight_halves((uint16_t *)at, bits);
                continue;
            }
            for (; bits; bits &= bits - 1) /* bits beyond the last column are clear */
                memset(at + (size_t)__builtin_ctz(bits) * code_bytes, 0, code_bytes);
        }
    }
}
