/* SPDX-License-Identifier: Apache-2.0 */
#include "quant/bitmap.h"

#include <stdio.h>
#include <string.h>

#include "base/checked_math.h"

bool phy_bitmap_view(struct phy_bitmap *out, enum phy_weight_type type, const void *data, size_t rows, size_t cols)
{
    uint64_t table, bits;
    *out = (struct phy_bitmap){.data = data, .value = phy_weight_bitmap_value(type), .rows = rows, .cols = cols};
    out->words = phy_ceil_div(cols, PHY_BITMAP_WORD);
    if (!phy_mul_u64(rows, 4, &table) || !phy_add_u64(table, 4 + 7, &table) || !phy_mul_u64(rows, out->words, &bits) ||
        !phy_mul_u64(bits, 8, &bits))
        return false;
    out->bits_at = table / 8 * 8;
    return phy_add_u64(out->bits_at, bits, &out->values_at);
}

bool phy_bitmap_bytes(const struct phy_bitmap *bitmap, uint64_t values, uint64_t *bytes)
{
    return values <= UINT32_MAX &&
           phy_add_u64(bitmap->values_at, values * phy_weight_float_bytes(bitmap->value) + PHY_BITMAP_END_BYTES, bytes);
}

/* ---- checks ---- */

static bool all_zero(const uint8_t *from, uint64_t bytes)
{
    for (uint64_t i = 0; i < bytes; i++) {
        if (from[i])
            return false;
    }
    return true;
}

static bool check_row(const struct phy_bitmap *b, size_t row, char *fact, size_t fact_bytes)
{
    const uint64_t first = phy_bitmap_first(b, row), next = phy_bitmap_first(b, row + 1);
    const uint8_t *bits = phy_bitmap_bits(b, row);
    uint64_t count = 0, word = 0;
    for (size_t w = 0; w < b->words; w++) {
        word = phy_load_u64(bits + 8 * w);
        count += (uint64_t)__builtin_popcountll(word);
    }
    if (next < first || next - first != count) {
        snprintf(fact, fact_bytes, "row %zu has values %llu to %llu, its bitmap has %llu bits", row,
                 (unsigned long long)first, (unsigned long long)next, (unsigned long long)count);
        return false;
    }
    if (b->cols % PHY_BITMAP_WORD && word >> b->cols % PHY_BITMAP_WORD) {
        snprintf(fact, fact_bytes, "row %zu has bits beyond its %zu columns", row, b->cols);
        return false;
    }
    return true;
}

bool phy_bitmap_check(const struct phy_bitmap *b, uint64_t bytes, char *fact, size_t fact_bytes)
{
    uint64_t wanted = 0;
    if (bytes < b->values_at + PHY_BITMAP_END_BYTES) {
        snprintf(fact, fact_bytes, "%llu bytes, the bitmap alone ends at %llu", (unsigned long long)bytes,
                 (unsigned long long)(b->values_at + PHY_BITMAP_END_BYTES));
        return false;
    }
    const uint64_t values = phy_bitmap_first(b, b->rows), table = 4 * ((uint64_t)b->rows + 1);
    if (!phy_bitmap_bytes(b, values, &wanted) || wanted != bytes) {
        snprintf(fact, fact_bytes, "%llu bytes, a matrix of %llu values has %llu", (unsigned long long)bytes,
                 (unsigned long long)values, (unsigned long long)wanted);
        return false;
    }
    if (phy_bitmap_first(b, 0) != 0 || !all_zero(b->data + table, b->bits_at - table) ||
        !all_zero(b->data + bytes - PHY_BITMAP_END_BYTES, PHY_BITMAP_END_BYTES)) {
        snprintf(fact, fact_bytes, "something stands where zeros belong: in front of the bitmap, or at the end");
        return false;
    }
    for (size_t row = 0; row < b->rows; row++) {
        if (!check_row(b, row, fact, fact_bytes))
            return false;
    }
    return true;
}

/* ---- rows ---- */

uint64_t phy_bitmap_count(enum phy_weight_type value, const void *codes, uint64_t count)
{
    const uint8_t *from = codes;
    uint64_t values = 0;
    if (phy_weight_float_bytes(value) == 4) {
        for (uint64_t i = 0; i < count; i++)
            values += phy_load_u32(from + 4 * i) != 0;
    } else {
        for (uint64_t i = 0; i < count; i++)
            values += phy_load_u16(from + 2 * i) != 0;
    }
    return values;
}

size_t phy_bitmap_encode_row(enum phy_weight_type value, const uint8_t *codes, size_t cols, uint8_t *bits,
                             uint8_t *values)
{
    const size_t code = phy_weight_float_bytes(value);
    size_t count = 0;
    for (size_t c = 0; c < cols; c += PHY_BITMAP_WORD) {
        uint64_t word = 0;
        for (size_t i = 0; i < PHY_BITMAP_WORD && c + i < cols; i++) {
            const uint8_t *from = codes + (c + i) * code;
            if (!(code == 4 ? phy_load_u32(from) : phy_load_u16(from)))
                continue;
            word |= UINT64_C(1) << i;
            if (bits)
                memcpy(values + count * code, from, code);
            count++;
        }
        if (bits)
            phy_store_u64(bits + c / 8, word);
    }
    return count;
}

void phy_bitmap_decode_row(const struct phy_bitmap *b, size_t row, float *out)
{
    const size_t code = phy_weight_float_bytes(b->value);
    const uint8_t *bits = phy_bitmap_bits(b, row), *values = phy_bitmap_values(b, row);
    for (size_t c = 0; c < b->cols; c++) {
        out[c] = 0;
        if (bits[c / 8] >> c % 8 & 1) {
            phy_weight_decode_row(b->value, values, 1, &out[c]);
            values += code;
        }
    }
}
