/* SPDX-License-Identifier: Apache-2.0 */
#include "surgery/rank_method.h"

#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "base/checked_math.h"
#include "base/log.h"
#include "surgery/units.h"

static const char *const names[] = {
    [PHY_RANK_MAGNITUDE] = "magnitude", [PHY_RANK_WANDA] = "wanda", [PHY_RANK_RIA] = "ria"};

enum phy_status phy_rank_method_choose(struct phy_rank_method *out, const char *method, const char *pattern,
                                       double sparsity, bool calibrated, const struct phy_host *host)
{
    *out = (struct phy_rank_method){.sparsity = sparsity};
    if (!method || strcmp(method, "flow") == 0)
        return pattern ? phy_fail(host, PHY_ERR_USAGE, "a pattern needs the method magnitude, wanda or ria") : PHY_OK;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (strcmp(method, names[i]) == 0) {
            out->ranked = true;
            out->score = (enum phy_rank_score)i;
            out->name = names[i];
        }
    }
    if (!out->ranked)
        return phy_fail(host, PHY_ERR_USAGE, "method \"%.32s\": flow, magnitude, wanda or ria is allowed", method);
    if (pattern && strcmp(pattern, "2:4") != 0 && strcmp(pattern, "4:8") != 0)
        return phy_fail(host, PHY_ERR_USAGE, "pattern \"%.32s\": 2:4 or 4:8 is allowed", pattern);
    if (pattern && sparsity != 0)
        return phy_fail(host, PHY_ERR_USAGE, "a pattern and a sparsity: give one");
    if (!pattern && !(sparsity > 0 && sparsity < 1))
        return phy_fail(host, PHY_ERR_USAGE, "method %s needs a sparsity above 0 and below 1, or a pattern", out->name);
    if (out->score == PHY_RANK_WANDA && !calibrated)
        return phy_fail(host, PHY_ERR_USAGE, "method wanda needs a calibration");
    if (out->score == PHY_RANK_MAGNITUDE && calibrated)
        return phy_fail(host, PHY_ERR_USAGE, "method magnitude takes no calibration: it looks at no activations");
    if (pattern) {
        out->keep = pattern[0] == '2' ? 2 : 4;
        out->group = 2 * out->keep;
    }
    return PHY_OK;
}

struct phy_rank_params phy_rank_params_of(const struct phy_rank_method *method, uint64_t cols)
{
    return (struct phy_rank_params){.score = method->score,
                                    .keep = method->keep,
                                    .group = method->group,
                                    .kill = method->group ? 0 : (uint64_t)floor(method->sparsity * (double)cols)};
}

/* ---- columns ---- */

uint64_t phy_rank_widest(const struct phy_checkpoint *donor, const struct phy_target_list *targets)
{
    uint64_t widest = 0;
    for (size_t i = 0; i < targets->count; i++) {
        uint64_t cols = phy_matrix_of(donor, &targets->targets[i]).cols;
        widest = cols > widest ? cols : widest;
    }
    return widest;
}

uint64_t phy_rank_columns_bytes(const struct phy_rank_method *method, const struct phy_checkpoint *donor,
                                const struct phy_target_list *targets)
{
    uint64_t each = PHY_RANK_BINS * sizeof(uint64_t) + sizeof(float), widest = phy_rank_widest(donor, targets);
    return method->score == PHY_RANK_RIA ? widest * each : 0; /* within a tensor's size times 132: no overflow */
}

enum phy_status phy_rank_columns_open(struct phy_rank_columns *out, const struct phy_rank_method *method,
                                      const struct phy_checkpoint *donor, const struct phy_target_list *targets,
                                      const struct phy_calibration *calibration, const struct phy_host *host)
{
    *out = (struct phy_rank_columns){
        .method = method, .donor = donor, .targets = targets, .calibration = calibration, .target = targets->count};
    if (method->score != PHY_RANK_RIA)
        return PHY_OK;
    size_t widest = (size_t)phy_rank_widest(donor, targets);
    out->bins = phy_alloc(widest, PHY_RANK_BINS * sizeof *out->bins);
    out->inverse = phy_alloc(widest, sizeof *out->inverse);
    return out->bins && out->inverse ? PHY_OK : phy_fail_memory(host, "sums of columns", widest * 132);
}

void phy_rank_columns_close(struct phy_rank_columns *columns)
{
    phy_free(columns->bins);
    phy_free(columns->inverse);
    *columns = (struct phy_rank_columns){0};
}

/* The first reading of a tensor. */
static enum phy_status add_up(struct phy_rank_columns *columns, size_t target, void *chunk, size_t chunk_bytes,
                              const struct phy_host *host)
{
    struct phy_matrix m = phy_matrix_of(columns->donor, &columns->targets->targets[target]);
    const uint64_t row_bytes = m.cols * m.code_bytes;
    uint64_t step = phy_min_u64(chunk_bytes / row_bytes, PHY_RANK_SUM_MOST), unfolded = 0;
    memset(columns->bins, 0, (size_t)m.cols * PHY_RANK_BINS * sizeof *columns->bins);
    columns->target = columns->targets->count;
    for (uint64_t row = 0; row < m.rows; row += step) {
        uint64_t rows = phy_min_u64(step, m.rows - row);
        if (phy_cancelled(host))
            return PHY_ERR_INTERRUPTED;
        enum phy_status status =
            phy_checkpoint_read(columns->donor, m.shard, m.at + row * row_bytes, chunk, (size_t)(rows * row_bytes));
        if (status != PHY_OK)
            return status;
        if (unfolded + rows > PHY_RANK_SUM_MOST) {
            phy_rank_fold_columns(columns->bins, (size_t)m.cols);
            unfolded = 0;
        }
        phy_rank_add_columns(columns->bins, chunk, m.type, (size_t)rows, (size_t)m.cols);
        unfolded += rows;
    }
    phy_rank_fold_columns(columns->bins, (size_t)m.cols);
    phy_rank_invert_columns(columns->bins, (size_t)m.cols, columns->inverse);
    columns->target = target;
    return PHY_OK;
}

enum phy_status phy_rank_columns_fill(struct phy_rank_columns *columns, size_t target, unsigned char *buffer,
                                      size_t buffer_bytes, struct phy_rank_rows *rows, const struct phy_host *host)
{
    const size_t cols = (size_t)phy_matrix_of(columns->donor, &columns->targets->targets[target]).cols;
    float *factor = (float *)(void *)buffer + PHY_RANK_SCRATCH_WORDS * cols, *inverse = factor + cols;
    enum phy_status status = PHY_OK;
    rows->scratch = (uint32_t *)(void *)buffer;
    rows->cols = cols;
    rows->column_factor = columns->calibration ? factor : NULL;
    rows->column_inverse = columns->inverse ? inverse : NULL;
    if (columns->inverse && columns->target != target)
        status = add_up(columns, target, inverse + cols, buffer_bytes - PHY_RANK_COLUMN_BYTES * cols, host);
    if (status == PHY_OK && columns->inverse)
        memcpy(inverse, columns->inverse, cols * sizeof *inverse);
    if (status == PHY_OK && columns->calibration)
        status = phy_calibration_read(columns->calibration, target, 0, cols, factor);
    /* Correctly rounded by IEEE 754, unlike any other power. */
    for (size_t j = 0; status == PHY_OK && columns->calibration && columns->inverse && j < cols; j++)
        factor[j] = sqrtf(factor[j]);
    return status;
}
