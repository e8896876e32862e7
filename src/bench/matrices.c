/* SPDX-License-Identifier: Apache-2.0 */
#include "bench/matrices.h"

#include <math.h>
#include <string.h>
#include <strings.h>

#include "base/alloc.h"
#include "base/checked_math.h"
#include "bench/stats.h"
#include "quant/bitmap.h"

static const char *const names[PHY_WEIGHT_BITMAP_END] = {
    [PHY_WEIGHT_BF16] = "bf16",
    [PHY_WEIGHT_F16] = "f16",
    [PHY_WEIGHT_F32] = "f32",
    [PHY_WEIGHT_Q8_0] = "q8_0",
    [PHY_WEIGHT_Q4_0] = "q4_0",
    [PHY_WEIGHT_Q4_K] = "q4_k",
    [PHY_WEIGHT_Q6_K] = "q6_k",
    [PHY_WEIGHT_FP8] = "fp8",
    [PHY_WEIGHT_FP4] = "fp4",
    [PHY_WEIGHT_MXFP4] = "mxfp4",
    [PHY_WEIGHT_BITMAP_BF16] = "bitmap_bf16",
    [PHY_WEIGHT_BITMAP_F16] = "bitmap_f16",
    [PHY_WEIGHT_BITMAP_F32] = "bitmap_f32",
};

const char *phy_bench_type_name(enum phy_weight_type type)
{
    return names[type];
}

bool phy_bench_type_named(const char *name, enum phy_weight_type *type)
{
    if (strcasecmp(name, "bitmap") == 0)
        name = names[PHY_WEIGHT_BITMAP_BF16];
    for (int i = 0; i < PHY_WEIGHT_BITMAP_END; i++) {
        if (strcasecmp(names[i], name) == 0) {
            *type = (enum phy_weight_type)i;
            return true;
        }
    }
    return false;
}

static void put_f16(uint8_t *to, uint16_t code)
{
    to[0] = (uint8_t)code;
    to[1] = (uint8_t)(code >> 8);
}

/* The scales of one block, where src/quant draws them: about 2^-6, so that sums stay far from both ends of float32. */
static void set_scales(enum phy_weight_type type, uint8_t *block)
{
    const uint16_t small_f16 = 0x2400; /* 2^-6 */
    const uint8_t small_e4m3 = 0x08;   /* 2^-6 */
    switch (type) {
    case PHY_WEIGHT_Q8_0:
    case PHY_WEIGHT_Q4_0:
        put_f16(block, small_f16);
        break;
    case PHY_WEIGHT_Q4_K:
        put_f16(block, small_f16);
        put_f16(block + 2, small_f16);
        break;
    case PHY_WEIGHT_Q6_K:
        put_f16(block + 208, small_f16);
        break;
    case PHY_WEIGHT_FP8:
        for (int i = 0; i < 256; i++)
            block[i] = (block[i] & 0x7F) == 0x7F ? 0 : block[i]; /* NaN */
        block[256] = small_e4m3;
        break;
    case PHY_WEIGHT_FP4:
        for (int i = 0; i < 8; i++)
            block[128 + i] = 0x38; /* 1 */
        block[136] = small_e4m3;
        break;
    case PHY_WEIGHT_MXFP4:
        block[0] = 121; /* 2^-6 */
        break;
    default:
        break;
    }
}

/* Floats of about 2^-7 .. 2^-6, either sign: the exponent is one, the rest is random. */
static void fill_floats(enum phy_weight_type type, uint8_t *to, size_t bytes, uint64_t *state)
{
    size_t width = phy_weight_float_bytes(type);
    for (size_t i = 0; i + width <= bytes; i += width) {
        uint64_t bits = phy_bench_random(state);
        uint32_t code = (uint32_t)bits;
        if (type == PHY_WEIGHT_F32)
            code = (code & 0x807FFFFF) | 0x3C000000;
        else if (type == PHY_WEIGHT_BF16)
            code = (code & 0x807F) | 0x3C00;
        else
            code = (code & 0x83FF) | 0x2000;
        memcpy(to + i, &code, width);
    }
}

void phy_bench_fill(enum phy_weight_type type, uint8_t *to, size_t bytes, uint64_t seed)
{
    uint64_t state = seed;
    if (type < PHY_WEIGHT_FLOAT_COUNT) {
        fill_floats(type, to, bytes, &state);
        return;
    }
    for (size_t i = 0; i < bytes; i += 8) {
        uint64_t bits = phy_bench_random(&state);
        memcpy(to + i, &bits, bytes - i < 8 ? bytes - i : 8);
    }
    const struct phy_quant_format *format = phy_weight_format(type);
    for (size_t i = 0; i + format->bytes <= bytes; i += format->bytes)
        set_scales(type, to + i);
}

/* ---- bitmaps ---- */

static size_t kept_of_row(size_t cols, double sparsity)
{
    return (size_t)llround((double)cols * (1 - sparsity));
}

bool phy_bench_matrix_bytes(enum phy_weight_type type, size_t rows, size_t cols, double sparsity, size_t *bytes)
{
    struct phy_bitmap view;
    uint64_t values, all;
    *bytes = 0;
    if (!phy_weight_is_bitmap(type))
        return phy_weight_row_bytes(type, cols, bytes) && phy_mul_size(*bytes, rows, bytes);
    if (!phy_bitmap_view(&view, type, NULL, rows, cols) || !phy_mul_u64(rows, kept_of_row(cols, sparsity), &values) ||
        !phy_bitmap_bytes(&view, values, &all) || all > SIZE_MAX)
        return false;
    *bytes = (size_t)all;
    return true;
}

/* Zeros for all but `kept` of a row's codes: each that is met is kept with the chance that those still wanted have
 * among those still to come. */
static void leave_kept(uint8_t *codes, size_t code_bytes, size_t cols, size_t kept, uint64_t *state)
{
    for (size_t c = 0; c < cols; c++) {
        const double random = (double)(phy_bench_random(state) >> 11) * 0x1p-53;
        if (random * (double)(cols - c) < (double)kept)
            kept--;
        else
            memset(codes + c * code_bytes, 0, code_bytes);
    }
}

static void fill_bitmap(struct phy_bitmap *view, uint8_t *to, uint8_t *codes, size_t kept, uint64_t state)
{
    const size_t code = phy_weight_float_bytes(view->value), row_bytes = view->cols * code;
    uint8_t *values = to + view->values_at;
    memset(to, 0, view->bits_at);
    for (size_t r = 0; r < view->rows; r++) {
        fill_floats(view->value, codes, row_bytes, &state);
        leave_kept(codes, code, view->cols, kept, &state);
        values += code * phy_bitmap_encode_row(view->value, codes, view->cols, to + view->bits_at + 8 * r * view->words,
                                               values);
        phy_store_u32(to + 4 * (r + 1), (uint32_t)((r + 1) * kept));
    }
    memset(values, 0, PHY_BITMAP_END_BYTES);
}

bool phy_bench_fill_matrix(enum phy_weight_type type, uint8_t *to, size_t rows, size_t cols, double sparsity,
                           uint64_t seed)
{
    struct phy_bitmap view;
    size_t bytes;
    if (!phy_bench_matrix_bytes(type, rows, cols, sparsity, &bytes))
        return false;
    if (!phy_weight_is_bitmap(type)) {
        phy_bench_fill(type, to, bytes, seed);
        return true;
    }
    phy_bitmap_view(&view, type, to, rows, cols); /* it fits: its bytes were counted */
    uint8_t *codes = phy_alloc(cols, phy_weight_float_bytes(view.value));
    if (codes)
        fill_bitmap(&view, to, codes, kept_of_row(cols, sparsity), seed);
    phy_free(codes);
    return codes != NULL;
}
