/* SPDX-License-Identifier: Apache-2.0 */
/* A bitmap's tensor as a store has it, behind a byte for its type, one for its rows and two for its columns. What the
 * check lets pass is decoded and multiplied by every form, from a buffer that ends where the tensor does. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz/fuzz.h"

#include "base/checked_math.h"
#include "kernels/bitmap_matmul.h"

enum { HEAD_BYTES = 4 };

/* Every stored code is found again, and nothing else; a row's bits are those of its codes. */
static void check_row(const struct phy_bitmap *b, size_t row, const float *decoded)
{
    const uint8_t *bits = phy_bitmap_bits(b, row);
    size_t stored = 0;
    for (size_t c = 0; c < b->cols; c++) {
        const bool set = bits[c / 8] >> c % 8 & 1;
        FUZZ_CHECK(set || (decoded[c] == 0 && !signbit(decoded[c])));
        stored += set;
    }
    FUZZ_CHECK(stored == phy_bitmap_first(b, row + 1) - phy_bitmap_first(b, row));
}

static void multiply(const struct phy_bitmap *b, const struct phy_bitmap_variant *v, const float *x, float *y)
{
    const struct phy_bitmap_product product = {.w = *b, .x = x, .count = 1, .y = y, .y_stride = b->rows};
    v->matvec(&product, 0, b->rows);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct phy_cpu_features have = phy_cpu_detect();
    struct phy_bitmap b;
    char fact[200] = "";
    if (size < HEAD_BYTES)
        return 0;
    const enum phy_weight_type type = (enum phy_weight_type)(PHY_WEIGHT_BITMAP_BF16 + data[0] % 3);
    const size_t rows = data[1], cols = phy_load_u16(data + 2), bytes = size - HEAD_BYTES;
    if (rows == 0 || cols == 0 || rows * cols > 1 << 16) /* a store has no empty matrix */
        return 0;
    uint8_t *tensor = malloc(bytes + 1);
    memcpy(tensor, data + HEAD_BYTES, bytes);
    tensor = realloc(tensor, bytes ? bytes : 1);
    FUZZ_CHECK(phy_bitmap_view(&b, type, tensor, rows, cols));
    const bool sound = phy_bitmap_check(&b, bytes, fact, sizeof fact);
    FUZZ_CHECK(sound == (fact[0] == 0));
    float *decoded = malloc(rows * cols * sizeof *decoded), *again = malloc(rows * cols * sizeof *again);
    float *x = calloc(cols, sizeof *x), *y = malloc(rows * sizeof *y);
    for (const struct phy_bitmap_variant *v = phy_bitmap_variants; sound && v->name; v++) {
        if (!phy_cpu_meets(&have, &v->needs))
            continue;
        v->decode(&b, 0, rows, v == phy_bitmap_variants ? decoded : again);
        for (size_t i = 0; v != phy_bitmap_variants && i < rows * cols; i++) /* a NaN may lose that it signals */
            FUZZ_CHECK(memcmp(decoded + i, again + i, sizeof *again) == 0 || (isnan(decoded[i]) && isnan(again[i])));
        multiply(&b, v, x, y);
    }
    for (size_t r = 0; sound && r < rows; r++)
        check_row(&b, r, decoded + r * cols);
    free(tensor);
    free(decoded);
    free(again);
    free(x);
    free(y);
    return 0;
}
