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
    float scale = phy_float_of_bits((254u - (peak_bits >> 23)) << 23); /* peak * scale is in [1, 2) */
    uint32_t total = 0;                                                /* < 2^31 */
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

/* food[] as the codes have it, row-major. */
static void widen(const struct phy_flow_tile *tile, float *food, struct phy_flow_tile_result *result)
{
    *result = (struct phy_flow_tile_result){0};
    for (uint32_t r = 0; r < tile->rows; r++) {
        for (uint32_t c = 0; c < tile->cols; c++) {
            uint32_t bits = phy_flow_food_bits(tile, r, c, tile->column_scale ? tile->column_scale[c] : 1.0f);
            food[r * tile->cols + c] = phy_float_of_bits(bits);
            if (bits > result->peak_bits)
                result->peak_bits = bits;
        }
    }
}

/* conductance[] of food[], which is normalised in place. */
__attribute__((noinline)) static void flow(float *conductance, float *food, uint32_t rows, uint32_t cols,
                                           uint32_t peak_bits, const struct phy_flow_params *params)
{
    uint32_t row_sum[PHY_FLOW_MAX_BLOCK], col_sum[PHY_FLOW_MAX_BLOCK];
    float col_supply[PHY_FLOW_MAX_BLOCK];

    for (uint32_t i = 0; i < rows * cols; i++)
        conductance[i] = 1.0f;
    if (peak_bits == 0) /* an all-zero tile has nothing to kill */
        return;
    normalise(food, rows, cols, peak_bits);
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

static void clear_code(const struct phy_flow_tile *tile, uint32_t r, uint32_t c)
{
    size_t bytes = phy_float_bytes(tile->type);
    memset((char *)tile->codes + (r * tile->row_stride + c) * bytes, 0, bytes);
}

static void count_and_clear(const struct phy_flow_tile *tile, const float *conductance,
                            struct phy_flow_tile_result *result)
{
    for (uint32_t r = 0; r < tile->rows; r++) {
        for (uint32_t c = 0; c < tile->cols; c++) {
            bool zero = phy_flow_magnitude_bits(tile->codes, tile->type, r * tile->row_stride + c) == 0;
            bool killed = !zero && conductance[r * tile->cols + c] < 0.5f;
            result->zero_before += zero;
            result->killed += killed;
            if (killed && tile->apply)
                clear_code(tile, r, c);
        }
    }
}

void phy_flow_tile_ref(const struct phy_flow_tile *tile, const struct phy_flow_params *params, void *scratch,
                       struct phy_flow_tile_result *result)
{
    const uint32_t rows = tile->rows, cols = tile->cols;
    float *conductance = scratch;
    float *food = conductance + PHY_FLOW_MAX_BLOCK * PHY_FLOW_MAX_BLOCK;

    uint64_t mode = phy_float_mode_set(PHY_FLOAT_MODE_IEEE);
    widen(tile, food, result);
    if (result->peak_bits < PHY_FLOW_FOOD_LIMIT_BITS) {
        phy_float_mode_set(PHY_FLOAT_MODE_FLUSH);
        flow(conductance, food, rows, cols, result->peak_bits, params);
        count_and_clear(tile, conductance, result);
        if (tile->conductance)
            memcpy(tile->conductance, conductance, (size_t)rows * cols * sizeof *conductance);
    }
    phy_float_mode_restore(mode);
}
