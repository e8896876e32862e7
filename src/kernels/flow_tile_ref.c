/* SPDX-License-Identifier: Apache-2.0 */
/* The tile flow, slow and obvious: line by line what docs/tile-flow.md says. Built with -ffp-contract=off. */
#include "kernels/flow_tile_forms.h"

static uint32_t flux(float conductance, float food)
{
    return (uint32_t)(conductance * food * 65536.0f);
}

/* gain/2 divided by the mean flux of a line of `count` cells; 0 for a line that carries nothing. */
static float supply(uint32_t sum, float gain, uint32_t count)
{
    uint32_t s = sum >> 6; /* < 2^24, so the conversion is exact */
    float k = 0.5f * gain * (float)count * 1024.0f;
    return s > 0 ? k * phy_flow_recip((float)s) : 0.0f;
}

/* food[] becomes food / tile mean, at most 32. peak_bits are not zero. */
static void normalise(float *food, uint32_t rows, uint32_t cols, uint32_t peak_bits)
{
    float scale = phy_float_of((254u - (peak_bits >> 23)) << 23); /* peak * scale is in [1, 2) */
    uint32_t total = 0;                                           /* < 2^31 */
    for (uint32_t r = 0; r < rows; r++) {
        uint32_t row_sum = 0; /* < 2^31 */
        for (uint32_t c = 0; c < cols; c++) {
            float *f = &food[r * cols + c];
            *f = *f * scale;
            row_sum += (uint32_t)(*f * 4194304.0f);
        }
        total += row_sum >> 8;
    }
    float mean = (float)(total >> 8) * (float)(0.015625 / (double)(rows * cols));
    float inverse = phy_flow_recip(mean);
    for (uint32_t i = 0; i < rows * cols; i++) {
        float f = food[i] * inverse;
        food[i] = f < 32.0f ? f : 32.0f;
    }
}

static void sum_lines(const float *conductance, const float *food, uint32_t rows, uint32_t cols, uint32_t *row_sum,
                      uint32_t *col_sum)
{
    memset(row_sum, 0, rows * sizeof *row_sum);
    memset(col_sum, 0, cols * sizeof *col_sum);
    for (uint32_t r = 0; r < rows; r++) {
        for (uint32_t c = 0; c < cols; c++) {
            uint32_t u = flux(conductance[r * cols + c], food[r * cols + c]);
            row_sum[r] += u;
            col_sum[c] += u;
        }
    }
}

static void clear_code(const struct phy_flow_tile *tile, uint32_t r, uint32_t c)
{
    size_t bytes = phy_float_bytes(tile->type);
    memset((char *)tile->codes + (r * tile->row_stride + c) * bytes, 0, bytes);
}

void phy_flow_tile_ref(const struct phy_flow_tile *tile, const struct phy_flow_params *params, void *scratch,
                       struct phy_flow_tile_result *result)
{
    const uint32_t rows = tile->rows, cols = tile->cols, cells = rows * cols;
    float *conductance = scratch;
    float *food = conductance + PHY_FLOW_MAX_BLOCK * PHY_FLOW_MAX_BLOCK;
    uint32_t row_sum[PHY_FLOW_MAX_BLOCK], col_sum[PHY_FLOW_MAX_BLOCK];
    float col_supply[PHY_FLOW_MAX_BLOCK];

    *result = (struct phy_flow_tile_result){0};
    for (uint32_t r = 0; r < rows; r++) {
        for (uint32_t c = 0; c < cols; c++) {
            uint32_t bits = phy_flow_food_bits(tile, r, c, tile->column_scale ? tile->column_scale[c] : 1.0f);
            food[r * cols + c] = phy_float_of(bits);
            conductance[r * cols + c] = 1.0f;
            if (bits > result->peak_bits)
                result->peak_bits = bits;
        }
    }
    if (result->peak_bits >= PHY_FLOW_FOOD_LIMIT_BITS)
        return;

    if (result->peak_bits) { /* an all-zero tile has nothing to kill */
        normalise(food, rows, cols, result->peak_bits);
        sum_lines(conductance, food, rows, cols, row_sum, col_sum);
        for (uint32_t n = 0; n < params->iterations; n++) {
            for (uint32_t c = 0; c < cols; c++)
                col_supply[c] = supply(col_sum[c], params->gain, rows);
            for (uint32_t r = 0; r < rows; r++) {
                float row_supply = supply(row_sum[r], params->gain, cols);
                for (uint32_t c = 0; c < cols; c++) {
                    float *d = &conductance[r * cols + c];
                    float share = (*d * food[r * cols + c]) * (row_supply + col_supply[c]);
                    float q = share;
                    for (uint32_t b = 1; b < params->beta; b++)
                        q = q * share;
                    float a = q * phy_flow_recip(1.0f + q);
                    *d = (*d + a) * 0.5f;
                }
            }
            sum_lines(conductance, food, rows, cols, row_sum, col_sum);
        }
    }

    for (uint32_t r = 0; r < rows; r++) {
        for (uint32_t c = 0; c < cols; c++) {
            bool zero = phy_flow_magnitude_bits(tile->codes, tile->type, r * tile->row_stride + c) == 0;
            bool killed = !zero && conductance[r * cols + c] < 0.5f;
            result->zero_before += zero;
            result->killed += killed;
            if (killed && tile->apply)
                clear_code(tile, r, c);
        }
    }
    if (tile->conductance)
        memcpy(tile->conductance, conductance, cells * sizeof *conductance);
}
