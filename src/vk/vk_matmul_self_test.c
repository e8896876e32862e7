/* SPDX-License-Identifier: Apache-2.0 */
/* Products and a small FFN, computed by the device as any other and compared with float64, before a model is trusted to
 * it. The weights are loaded beside the model's. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/checked_math.h"
#include "base/log.h"
#include "quant/bitmap.h"
#include "vk/vk_matmul_parts.h"

enum { ROWS = VK_SELF_TEST_ROWS, COLS = VK_SELF_TEST_COLS, MOST_COUNT = PHY_MATVEC_MAX_COUNT + 1 };

/* Codes of random sign and fraction with magnitudes from 2^-4 to 2; each 16th a binary16 subnormal. */
static uint32_t float_code(enum phy_weight_type type, uint32_t random, uint32_t index)
{
    uint32_t sign = random >> 31, exponent = 123 + (random >> 28 & 3), fraction = random & 0x7FFFFF;
    if (type == PHY_WEIGHT_F16)
        return index % 16 == 5 ? sign << 15 | (fraction & 0x3FF) : sign << 15 | (exponent - 112) << 10 | fraction >> 13;
    uint32_t bits = sign << 31 | exponent << 23 | fraction;
    return type == PHY_WEIGHT_BF16 ? bits >> 16 : bits;
}

static void put_f16(uint8_t *at, uint32_t random, uint32_t index)
{
    uint32_t code = float_code(PHY_WEIGHT_F16, random, index);
    at[0] = (uint8_t)code;
    at[1] = (uint8_t)(code >> 8);
}

/* e4m3 from 2^-5 to 2^3, not a NaN. */
static uint8_t e4m3(uint32_t random)
{
    return (uint8_t)((random >> 24 & 0x80) | (2 + (random >> 20 & 7)) << 3 | (random >> 8 & 7));
}

/* Scales into a block whose other bytes are random; each third of q6_K and q4_K is a binary16 subnormal. */
static void put_scales(enum phy_weight_type type, uint8_t *block, uint32_t random, uint32_t index)
{
    index = index % 3 == 1 ? 5 : 0;
    switch (type) {
    case PHY_WEIGHT_Q8_0:
    case PHY_WEIGHT_Q4_0:
        put_f16(block, random, index);
        break;
    case PHY_WEIGHT_Q4_K:
        put_f16(block, random, index);
        put_f16(block + 2, random * 5, index);
        break;
    case PHY_WEIGHT_Q6_K:
        put_f16(block + 208, random, index);
        break;
    case PHY_WEIGHT_FP8:
        for (int i = 0; i < 256; i++) {
            if ((block[i] & 0x7F) == 0x7F)
                block[i] = 3; /* a subnormal */
        }
        block[256] = e4m3(random);
        break;
    case PHY_WEIGHT_FP4:
        for (int i = 0; i < 9; i++)
            block[128 + i] = e4m3(random * (uint32_t)(2 * i + 1));
        break;
    default:
        block[0] = (uint8_t)(123 + (random >> 28 & 7)); /* mxfp4 */
    }
}

static void fill(enum phy_weight_type type, uint8_t *bytes, size_t rows, size_t cols, uint32_t random)
{
    const struct phy_quant_format *format = phy_weight_format(type);
    const size_t blocks = rows * ((cols + format->elements - 1) / format->elements);
    for (size_t i = 0; i < blocks; i++) {
        uint8_t *block = bytes + i * format->bytes;
        for (uint32_t j = 0; j < format->bytes; j++) {
            random = random * 1664525u + 1013904223u;
            block[j] = (uint8_t)(random >> 16);
        }
        if (type >= PHY_WEIGHT_FLOAT_COUNT) {
            put_scales(type, block, random, (uint32_t)i);
            continue;
        }
        const uint32_t code = float_code(type, random, (uint32_t)i);
        for (uint32_t j = 0; j < format->bytes; j++)
            block[j] = (uint8_t)(code >> 8 * j);
    }
}

/* Of the float's rows every second or third weight, and at the beginning of each row whole words' none and all. */
static void fill_bitmap(struct phy_weights *w, uint8_t *bytes, uint32_t random)
{
    struct phy_bitmap view;
    uint8_t codes[ROWS * COLS * sizeof(float)];
    const enum phy_weight_type value = phy_weight_bitmap_value(w->type);
    const size_t code = phy_weight_float_bytes(value);
    uint32_t first = 0;
    fill(value, codes, w->rows, w->cols, random);
    phy_bitmap_view(&view, w->type, bytes, w->rows, w->cols);
    memset(bytes, 0, VK_SELF_TEST_BYTES);
    for (size_t r = 0; r < w->rows; r++) {
        uint8_t *row = codes + r * w->cols * code;
        for (size_t c = 0; c < w->cols; c++) {
            if (c < 32 ? r % 4 == 1 : c * (r + 7) % 5 < 2)
                memset(row + c * code, 0, code);
        }
        phy_store_u32(bytes + 4 * r, first);
        first += (uint32_t)phy_bitmap_encode_row(value, row, w->cols, bytes + view.bits_at + 8 * r * view.words,
                                                 bytes + view.values_at + first * code);
    }
    phy_store_u32(bytes + 4 * w->rows, first);
}

void phy_vk_matmul_self_test_fill(struct vk_matmul_self_test *test)
{
    for (uint32_t i = 0; i < VK_SELF_TEST_MATRICES; i++) {
        struct phy_weights *w = &test->matrices[i];
        *w = (struct phy_weights){.data = test->bytes[i],
                                  .type = (enum phy_weight_type)(i / 2),
                                  .rows = i % 2 ? COLS : ROWS,
                                  .cols = i % 2 ? ROWS : COLS};
        if (phy_weight_is_bitmap(w->type))
            fill_bitmap(w, test->bytes[i], i + 1);
        else
            fill(w->type, test->bytes[i], w->rows, w->cols, i + 1);
    }
}

static void decode_row(const struct phy_weights *w, size_t row, float *weights)
{
    size_t row_bytes = 0;
    struct phy_bitmap view;
    if (phy_weight_is_bitmap(w->type)) {
        phy_bitmap_view(&view, w->type, w->data, w->rows, w->cols);
        phy_bitmap_decode_row(&view, row, weights);
        return;
    }
    phy_weight_row_bytes(w->type, w->cols, &row_bytes);
    phy_weight_decode_row(w->type, (const uint8_t *)w->data + row * row_bytes, w->cols, weights);
}

/* The worst error in units of what the contract allows. */
static double judge(const struct phy_weights *w, const float *x, size_t count, const float *y)
{
    double worst = 0;
    float weights[COLS];
    for (size_t r = 0; r < w->rows; r++) {
        decode_row(w, r, weights);
        for (size_t n = 0; n < count; n++) {
            double sum = 0, magnitude = 0;
            for (size_t k = 0; k < w->cols; k++) {
                double product = (double)weights[k] * (double)x[n * w->cols + k];
                sum += product;
                magnitude += fabs(product);
            }
            double error = fabs((double)y[n * w->rows + r] - sum) / (4e-6 * magnitude);
            if (!(error <= worst))
                worst = error;
        }
    }
    return worst;
}

static enum phy_status report_wrong(const struct vk_matmul *m, const char *what, double error)
{
    return phy_vk_report(&m->b, PHY_ERR_DEVICE,
                         "device %s (%s) is refused: its self-test differs in %s, %.3g times the tolerance",
                         m->b.base.name, m->b.base.description, what, error);
}

static enum phy_status product_error(struct vk_matmul *m, const struct phy_weights *w, uint32_t index, size_t count,
                                     const float *x, double *error)
{
    float y[MOST_COUNT * COLS];
    enum phy_status status = phy_vk_matmul_multiply(m, &(struct vk_product){.matrix = index, .y = y}, 1, x, count);
    if (status)
        return status;
    if (m->options.spoil_self_test ||
        (m->options.spoil_matrices == 1 && phy_vk_matrices_take(m, PHY_KERNEL_FUSED, w->type, count)))
        y[count * w->rows - 1] += 1.0f;
    *error = judge(w, x, count, y);
    return PHY_OK;
}

/* Cooperative matrices that multiply wrongly (some flush subnormals), or that the driver cannot compile, are done
 * without, unless they were asked for. */
static enum phy_status try_matrices(struct vk_matmul *m, const struct phy_weights *w, uint32_t index, size_t count,
                                    const float *x)
{
    double error = 0;
    m->b.warn_only = true;
    enum phy_status status = product_error(m, w, index, count, x, &error);
    m->b.warn_only = false;
    if (status == PHY_OK && error <= 1)
        return PHY_OK;
    if (status != PHY_OK && status != PHY_ERR_DEVICE)
        return status;
    m->matrices_on = false;
    atomic_store(&m->b.lost, false); /* if it is, what follows says so */
    if (status == PHY_OK)
        phy_warn(m->b.host,
                 "device %s (%s): its cooperative matrices differ in the self-test by %.3g times the tolerance",
                 m->b.base.name, m->b.base.description, error);
    phy_warn(m->b.host, "device %s (%s): products do without cooperative matrices", m->b.base.name,
             m->b.base.description);
    return PHY_OK;
}

static enum phy_status test_products(struct vk_matmul *m, const struct phy_weights *w, uint32_t index, size_t count,
                                     const float *x)
{
    char name[32];
    double error = 0;
    enum phy_status status = PHY_OK;
    if (phy_vk_matrices_take(m, PHY_KERNEL_FUSED, w->type, count) && !m->matrices_asked)
        status = try_matrices(m, w, index, count, x);
    if (status == PHY_OK)
        status = product_error(m, w, index, count, x, &error);
    if (status)
        return status;
    snprintf(name, sizeof name, "%s_%s", count > PHY_MATVEC_MAX_COUNT ? "matmul" : "matvec",
             phy_weight_format(w->type)->name);
    return error <= 1 ? PHY_OK : report_wrong(m, name, error);
}

/* gate and up are the same matrix, so up's value is gate's. */
static enum phy_status test_ffn(struct vk_matmul *m, const struct phy_weights *both, uint32_t first, const float *x)
{
    float gate[ROWS], gated[ROWS], y[COLS], expected[ROWS];
    enum phy_status status = phy_vk_matmul_multiply(m, &(struct vk_product){.matrix = first, .y = gate}, 1, x, 1);
    for (int activation = PHY_ACT_SILU; activation <= PHY_ACT_GELU_TANH && status == PHY_OK; activation++) {
        const struct vk_ffn ffn = {.gate = first,
                                   .up = first,
                                   .down = first + 1,
                                   .activation = (enum phy_activation)activation,
                                   .x = x,
                                   .count = 1,
                                   .gated = gated,
                                   .y = y};
        status = phy_vk_matmul_ffn(m, &ffn);
        memcpy(expected, gate, sizeof expected);
        phy_activation_variants[0].gate((enum phy_activation)activation, expected, gate, ROWS);
        double worst = judge(&both[1], gated, 1, y);
        for (size_t i = 0; i < ROWS; i++) {
            double g = fabs((double)gate[i]), allowed = 2e-6 * fabs((double)expected[i]) + 1e-7 * fmax(1, g) * g;
            double error = fabs((double)gated[i] - (double)expected[i]) / (allowed + 1e-30);
            if (!(error <= worst))
                worst = error;
        }
        if (status == PHY_OK && !(worst <= 1))
            return report_wrong(m, activation == PHY_ACT_SILU ? "SiLU" : "tanh-GELU", worst);
    }
    return status;
}

enum phy_status phy_vk_matmul_self_test_run(struct vk_matmul *m, const struct vk_matmul_self_test *test,
                                            enum phy_weight_type type, uint32_t first)
{
    const struct phy_weights *both = &test->matrices[2 * type];
    float x[MOST_COUNT * COLS];
    for (uint32_t i = 0; i < MOST_COUNT * COLS; i++)
        x[i] = (float)(int)(i * 2654435761u >> 8 & 0xFFFF) / 32768.0f - 1.0f;
    enum phy_status status = test_products(m, &both[0], first, 1, x);
    if (status == PHY_OK)
        status = test_products(m, &both[0], first, MOST_COUNT, x);
    return status == PHY_OK ? test_ffn(m, both, first, x) : status;
}
