/* SPDX-License-Identifier: Apache-2.0 */
/* Products and a small FFN, computed by the device as any other and compared with float64, before a model is trusted to
 * it. The weights are loaded beside the model's. */
#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "vk/vk_matmul_parts.h"

enum { ROWS = VK_SELF_TEST_ROWS, COLS = VK_SELF_TEST_COLS, MOST_COUNT = PHY_MATVEC_MAX_COUNT + 1 };

/* Codes of random sign and fraction with magnitudes from 2^-4 to 2; each 16th a binary16 subnormal. */
static uint32_t code(enum phy_weight_type type, uint32_t random, uint32_t index)
{
    uint32_t sign = random >> 31, exponent = 123 + (random >> 28 & 3), fraction = random & 0x7FFFFF;
    if (type == PHY_WEIGHT_F16)
        return index % 16 == 5 ? sign << 15 | (fraction & 0x3FF) : sign << 15 | (exponent - 112) << 10 | fraction >> 13;
    uint32_t bits = sign << 31 | exponent << 23 | fraction;
    return type == PHY_WEIGHT_BF16 ? bits >> 16 : bits;
}

void phy_vk_matmul_self_test_fill(struct vk_matmul_self_test *test)
{
    uint32_t random = 1;
    for (uint32_t type = 0; type < VK_TYPE_COUNT; type++) {
        const size_t bytes = phy_weight_float_bytes((enum phy_weight_type)type);
        for (uint32_t i = 0; i < ROWS * COLS; i++) {
            random = random * 1664525u + 1013904223u;
            uint32_t value = code((enum phy_weight_type)type, random, i);
            if (bytes == 4) {
                test->words[type][i] = value;
            } else {
                uint16_t half = (uint16_t)value;
                memcpy((char *)test->words[type] + i * bytes, &half, bytes);
            }
        }
        const struct phy_weights w = {.data = test->words[type], .type = (enum phy_weight_type)type};
        struct phy_weights *both = &test->matrices[2 * type];
        both[0] = both[1] = w;
        both[0].rows = both[1].cols = ROWS;
        both[0].cols = both[1].rows = COLS;
    }
}

/* The worst error in units of what the contract allows. */
static double judge(const struct phy_weights *w, const float *x, size_t count, const float *y)
{
    double worst = 0;
    for (size_t n = 0; n < count; n++) {
        for (size_t r = 0; r < w->rows; r++) {
            double sum = 0, magnitude = 0;
            for (size_t k = 0; k < w->cols; k++) {
                /* The reference product of one weight and 1: the one place that widens. */
                static const float one = 1.0f;
                float value;
                const char *at = (const char *)w->data + (r * w->cols + k) * phy_weight_float_bytes(w->type);
                const struct phy_matmul widen = {
                    .w = at, .type = w->type, .rows = 1, .cols = 1, .x = &one, .count = 1, .y = &value, .y_stride = 1};
                phy_matmul_variants[0].matvec(&widen, 0, 1);
                double product = (double)value * (double)x[n * w->cols + k];
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

static enum phy_status test_products(struct vk_matmul *m, const struct phy_weights *w, uint32_t index, size_t count,
                                     const float *x)
{
    static const char *const names[][2] = {
        {"matvec_bf16", "matmul_bf16"}, {"matvec_f16", "matmul_f16"}, {"matvec_f32", "matmul_f32"}};
    float y[MOST_COUNT * COLS];
    enum phy_status status = phy_vk_matmul_multiply(m, &(struct vk_product){index, y, NULL}, 1, x, count);
    if (status)
        return status;
    if (m->options.spoil_self_test)
        y[count * w->rows - 1] += 1.0f;
    double error = judge(w, x, count, y);
    return error <= 1 ? PHY_OK : report_wrong(m, names[w->type][count > PHY_MATVEC_MAX_COUNT], error);
}

/* gate and up are the same matrix, so up's value is gate's. */
static enum phy_status test_ffn(struct vk_matmul *m, const struct phy_weights *both, uint32_t first, const float *x)
{
    float gate[ROWS], gated[ROWS], y[COLS], expected[ROWS];
    enum phy_status status = phy_vk_matmul_multiply(m, &(struct vk_product){first, gate, NULL}, 1, x, 1);
    for (int activation = PHY_ACT_SILU; activation <= PHY_ACT_GELU_TANH && status == PHY_OK; activation++) {
        const struct vk_ffn ffn = {first,  first,      first + 1,      (enum phy_activation)activation,
                                   .x = x, .count = 1, .gated = gated, .y = y};
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
