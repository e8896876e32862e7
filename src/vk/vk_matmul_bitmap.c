/* SPDX-License-Identifier: Apache-2.0 */
/* Bitmaps (quant/bitmap.h) from their order on disk to a device's (shaders/shared/weight_layout.h). */
#include <string.h>

#include "base/checked_math.h"
#include "quant/bitmap.h"
#include "shared/weight_layout.h"
#include "vk/vk_matmul_parts.h"

enum { WORD_BYTES = 16, WORD_COLS = PHY_BITMAP_UNITS * PHY_UNIT_COLS, STORED_WORDS = WORD_COLS / PHY_BITMAP_WORD };

static uint32_t words_of_row(const struct vk_matrix *matrix)
{
    return (matrix->cols + WORD_COLS - 1) / WORD_COLS;
}

/* Where the planes of so many rows begin, in bytes. Rows and columns are below 2^31: 2^31 * 2^24 * 20 overflows
 * nothing.
 */
static uint64_t firsts_at(const struct vk_matrix *matrix, uint32_t rows)
{
    return (uint64_t)rows * words_of_row(matrix) * WORD_BYTES;
}

static uint64_t values_at(const struct vk_matrix *matrix, uint32_t rows)
{
    return firsts_at(matrix, rows) / WORD_BYTES * (WORD_BYTES + sizeof(uint32_t));
}

static struct phy_bitmap view_of(const struct vk_matrix *matrix)
{
    struct phy_bitmap view;
    phy_bitmap_view(&view, matrix->type, matrix->w->data, matrix->rows, matrix->cols); /* it was checked: no overflow */
    return view;
}

/* Of rows first .. first + rows - 1. */
static uint64_t slice_bytes(const struct vk_matrix *matrix, const struct phy_bitmap *view, uint32_t first,
                            uint32_t rows)
{
    const uint64_t values = phy_bitmap_first(view, (size_t)first + rows) - phy_bitmap_first(view, first);
    const uint64_t bytes = values_at(matrix, rows) + values * phy_weight_float_bytes(view->value) + WORD_BYTES;
    return (bytes + WORD_BYTES - 1) / WORD_BYTES * WORD_BYTES;
}

/* More rows are more bytes, so that the most that fit are found by halving. */
void phy_vk_bitmap_slice(const struct vk_matrix *matrix, VkDeviceSize limit, struct vk_slice *slice)
{
    const struct phy_bitmap view = view_of(matrix);
    uint32_t fit = 0, beyond = matrix->rows - slice->first_row + 1;
    while (beyond - fit > 1) {
        const uint32_t middle = fit + (beyond - fit) / 2;
        if (slice_bytes(matrix, &view, slice->first_row, middle) <= limit)
            fit = middle;
        else
            beyond = middle;
    }
    slice->rows = fit;
    slice->bytes = slice_bytes(matrix, &view, slice->first_row, fit);
}

void phy_vk_bitmap_lay(const struct vk_matrix *matrix, const struct vk_slice *slice, void *to)
{
    const struct phy_bitmap view = view_of(matrix);
    const uint32_t words = words_of_row(matrix);
    const size_t code = phy_weight_float_bytes(view.value);
    const uint64_t values = values_at(matrix, slice->rows), begin = phy_bitmap_first(&view, slice->first_row);
    const uint64_t count = phy_bitmap_first(&view, (size_t)slice->first_row + slice->rows) - begin;
    uint8_t *bits = to, *firsts = bits + firsts_at(matrix, slice->rows);
    for (uint32_t r = 0; r < slice->rows; r++) {
        const uint8_t *from = phy_bitmap_bits(&view, (size_t)slice->first_row + r);
        uint64_t first = values / code + phy_bitmap_first(&view, (size_t)slice->first_row + r) - begin;
        for (uint32_t i = 0; i < words; i++) {
            for (uint32_t half = 0; half < STORED_WORDS; half++) {
                const uint32_t at = STORED_WORDS * i + half;
                const uint64_t word = at < view.words ? phy_load_u64(from + 8 * (size_t)at) : 0;
                phy_store_u64(bits + 8 * half, word);
                if (half == 0)
                    phy_store_u32(firsts, (uint32_t)first);
                first += (uint64_t)__builtin_popcountll(word);
            }
            bits += WORD_BYTES;
            firsts += sizeof(uint32_t);
        }
    }
    memcpy((uint8_t *)to + values, phy_bitmap_values(&view, slice->first_row), count * code);
    memset((uint8_t *)to + values + count * code, 0, slice->bytes - values - count * code);
}

uint32_t phy_vk_bitmap_firsts_at(const struct vk_matrix *matrix, const struct vk_slice *slice)
{
    return (uint32_t)(firsts_at(matrix, slice->rows) / sizeof(uint32_t));
}
