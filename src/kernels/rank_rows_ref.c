/* SPDX-License-Identifier: Apache-2.0 */
/* Ranking, slow and obvious: line by line what the contract says. Built with -ffp-contract=off. */
#include "kernels/rank_rows_forms.h"

static float inverse_row_sum(const struct phy_rank_rows *rows, size_t row)
{
    uint64_t bins[PHY_RANK_BINS] = {0};
    for (size_t j = 0; j < rows->cols; j++) {
        uint32_t bits = phy_flow_magnitude_bits(rows->codes, rows->type, row * rows->cols + j);
        if (bits >= 0x00800000u && bits < PHY_FLOW_FOOD_LIMIT_BITS)
            phy_rank_add(bins, 1, bits);
        if ((j + 1) % PHY_RANK_SUM_MOST == 0)
            phy_rank_fold(bins, 1);
    }
    phy_rank_fold(bins, 1);
    return phy_rank_inverse(bins, 1);
}

static uint32_t score_bits(const struct phy_rank_rows *rows, enum phy_rank_score score, float row_inverse,
                           uint32_t bits, size_t col)
{
    float a = phy_float_of_bits(bits);
    switch (score) {
    case PHY_RANK_MAGNITUDE:
        return bits;
    case PHY_RANK_WANDA:
        return phy_rank_flushed(phy_bits_of_float(a * rows->column_factor[col]));
    default:
        a = a * (row_inverse + rows->column_inverse[col]);
        if (rows->column_factor)
            a = a * rows->column_factor[col];
        return phy_rank_flushed(phy_bits_of_float(a));
    }
}

/* scores[] of a row; returns the peak. */
static uint32_t score_row(const struct phy_rank_rows *rows, enum phy_rank_score score, size_t row, uint32_t *scores)
{
    uint32_t peak = 0;
    float row_inverse = score == PHY_RANK_RIA ? inverse_row_sum(rows, row) : 0.0f;
    for (size_t j = 0; j < rows->cols; j++) {
        uint32_t bits = phy_rank_flushed(phy_flow_magnitude_bits(rows->codes, rows->type, row * rows->cols + j));
        scores[j] = score_bits(rows, score, row_inverse, bits, j);
        uint32_t food = score == PHY_RANK_WANDA ? scores[j] : bits;
        peak = food > peak ? food : peak;
    }
    return peak;
}

/* The score of rank `kill`, counted from 1: the largest value that fewer than `kill` scores are below. */
static uint32_t threshold(const uint32_t *scores, size_t n, uint64_t kill)
{
    uint32_t value = 0;
    for (int bit = 31; bit >= 0; bit--) {
        uint32_t tried = value | UINT32_C(1) << bit;
        uint64_t below = 0;
        for (size_t j = 0; j < n; j++)
            below += scores[j] < tried;
        if (below < kill)
            value = tried;
    }
    return value;
}

static void clear(const struct phy_rank_rows *rows, size_t index, struct phy_flow_tile_result *result)
{
    size_t bytes = phy_float_bytes(rows->type);
    if (phy_flow_magnitude_bits(rows->codes, rows->type, index) == 0)
        return;
    result->killed++;
    if (rows->apply)
        memset((char *)rows->codes + index * bytes, 0, bytes);
}

/* Kill `kill` of the n weights at `index`. */
static void kill_lowest(const struct phy_rank_rows *rows, size_t index, const uint32_t *scores, size_t n, uint64_t kill,
                        struct phy_flow_tile_result *result)
{
    if (kill == 0)
        return;
    uint32_t limit = threshold(scores, n, kill);
    uint64_t below = 0;
    for (size_t j = 0; j < n; j++)
        below += scores[j] < limit;
    uint64_t ties = kill - below;
    for (size_t j = 0; j < n; j++) {
        if (scores[j] < limit || (scores[j] == limit && ties > 0)) {
            ties -= scores[j] == limit;
            clear(rows, index + j, result);
        }
    }
}

void phy_rank_rows_ref(const struct phy_rank_rows *rows, const struct phy_rank_params *params)
{
    uint64_t mode = phy_float_mode_set(PHY_FLOAT_MODE_IEEE);
    for (size_t i = 0; i < rows->rows; i++) {
        struct phy_flow_tile_result *result = &rows->results[i];
        uint32_t *scores = rows->scratch;
        *result = (struct phy_flow_tile_result){.peak_bits = score_row(rows, params->score, i, scores)};
        if (result->peak_bits >= PHY_FLOW_FOOD_LIMIT_BITS)
            continue;
        for (size_t j = 0; j < rows->cols; j++)
            result->zero_before += phy_flow_magnitude_bits(rows->codes, rows->type, i * rows->cols + j) == 0;
        size_t step = params->group ? params->group : rows->cols;
        for (size_t j = 0; j < rows->cols; j += step) {
            size_t n = rows->cols - j < step ? rows->cols - j : step;
            kill_lowest(rows, i * rows->cols + j, scores + j, n,
                        params->group ? phy_rank_group_kill(params, n) : params->kill, result);
        }
    }
    phy_float_mode_restore(mode);
}
