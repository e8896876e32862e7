/* SPDX-License-Identifier: Apache-2.0 */
/* Ranking whole rows: upload, dispatch, take back one bit a weight. The codes change only after every piece came back.
 */
#include <string.h>

#include "base/alloc.h"
#include "base/checked_math.h"
#include "base/clock.h"
#include "vk/vk.h"

enum { MAX_INVOCATIONS = 256 };

static enum phy_status pipeline(struct vk_backend *b, const struct phy_rank_params *params,
                                const struct phy_rank_rows *rows, VkPipeline *out)
{
    const uint32_t factored = rows->column_factor != NULL;
    const uint32_t values[PHY_RANK_SPEC_COUNT] = {
        [PHY_RANK_SPEC_INVOCATIONS] =
            (uint32_t)phy_min_u64(MAX_INVOCATIONS, phy_min_u64(b->properties.limits.maxComputeWorkGroupInvocations,
                                                               b->properties.limits.maxComputeWorkGroupSize[0])),
        [PHY_RANK_SPEC_TYPE] = (uint32_t)rows->type,
        [PHY_RANK_SPEC_SCORE] = (uint32_t)params->score,
        [PHY_RANK_SPEC_FACTORED] = factored,
    };
    VkSpecializationMapEntry entries[PHY_RANK_SPEC_COUNT];
    for (uint32_t i = 0; i < PHY_RANK_SPEC_COUNT; i++)
        entries[i] = (VkSpecializationMapEntry){.constantID = i, .offset = 4 * i, .size = 4};
    const VkSpecializationInfo constants = {
        .mapEntryCount = PHY_RANK_SPEC_COUNT, .pMapEntries = entries, .dataSize = sizeof values, .pData = values};
    VkPipeline *made = &b->rank_pipelines[((uint32_t)rows->type * 3 + (uint32_t)params->score) * 2 + factored];
    enum phy_status status = PHY_OK;
    pthread_mutex_lock(&b->pipeline_mutex);
    if (!b->rank_module)
        status = phy_vk_module_create(b, phy_vk_spirv_rank_rows(), &b->rank_module);
    if (status == PHY_OK && !*made)
        status = phy_vk_pipeline_create(b, b->rank_module, b->pipeline_layout, &constants, made);
    *out = *made;
    pthread_mutex_unlock(&b->pipeline_mutex);
    return status;
}

/* Where everything of a piece of `rows` rows lies. Words of the input's second range: factors, inverses of columns,
 * inverses of rows, then the shader's room for scores, which is not uploaded. */
struct layout {
    uint32_t rows, row_words, mask_words;
    uint64_t codes_bytes, values_at, value_words; /* values_at: bytes */
    struct phy_rank_push push;
};

static struct layout layout_of(const struct vk_backend *b, const struct phy_rank_params *params,
                               const struct phy_rank_rows *rows, uint64_t count)
{
    const uint64_t cols = rows->cols;
    struct layout l = {.rows = (uint32_t)count,
                       .row_words = (uint32_t)phy_ceil_div(cols * phy_float_bytes(rows->type), 4),
                       .mask_words = (uint32_t)phy_ceil_div(cols, 32)};
    l.codes_bytes = count * l.row_words * 4;
    l.values_at = vk_align_up(l.codes_bytes, b->properties.limits.minStorageBufferOffsetAlignment);
    const uint64_t inverse_at = rows->column_factor ? cols : 0, ria = params->score == PHY_RANK_RIA;
    const uint64_t row_inverse_at = inverse_at + ria * cols, scores_at = row_inverse_at + ria * count;
    l.value_words = scores_at + count * cols;
    l.push = (struct phy_rank_push){.cols = (uint32_t)cols,
                                    .row_words = l.row_words,
                                    .kill = (uint32_t)params->kill,
                                    .keep = params->keep,
                                    .group = params->group,
                                    .inverse_at = (uint32_t)inverse_at,
                                    .row_inverse_at = (uint32_t)row_inverse_at,
                                    .scores_at = (uint32_t)scores_at};
    return l;
}

/* Rows of a piece: by time, by memory, by the device's limits. 0: not even one fits. */
static uint64_t rows_in_piece(const struct vk_backend *b, const struct phy_rank_params *params,
                              const struct phy_rank_rows *rows)
{
    const uint64_t range = b->properties.limits.maxStorageBufferRange;
    const uint64_t most = phy_min_u64(range, UINT32_MAX) / 4;
    uint64_t count = atomic_load(&b->rank_cells_per_dispatch) / rows->cols;
    count = phy_min_u64(count ? count : 1, rows->rows);
    count = phy_min_u64(count, b->properties.limits.maxComputeWorkGroupCount[0]);
    if (b->max_piece_weights)
        count = phy_min_u64(count, phy_ceil_div(b->max_piece_weights, rows->cols));
    /* A row of f32 codes and its scores are 8 bytes a column, half of a slot's share of the memory. */
    count = phy_min_u64(count, b->max_input_bytes / 2 / ((uint64_t)rows->cols * 4) + 1);
    while (count && layout_of(b, params, rows, count).value_words > most)
        count /= 2;
    return count;
}

static void upload(const struct phy_rank_params *params, const struct phy_rank_rows *rows, size_t first,
                   const struct layout *l, char *to)
{
    const size_t code_bytes = phy_float_bytes(rows->type), row_bytes = rows->cols * code_bytes;
    const size_t pitch = (size_t)l->row_words * 4;
    const char *from = (const char *)rows->codes + first * row_bytes;
    for (uint32_t r = 0; r < l->rows; r++)
        memcpy(to + r * pitch, from + r * row_bytes, row_bytes);
    float *values = (float *)(to + l->values_at);
    if (rows->column_factor)
        memcpy(values, rows->column_factor, rows->cols * sizeof *values);
    if (params->score != PHY_RANK_RIA)
        return;
    memcpy(values + l->push.inverse_at, rows->column_inverse, rows->cols * sizeof *values);
    for (uint32_t r = 0; r < l->rows; r++) { /* a row is a column of a matrix that is one column wide */
        uint64_t bins[PHY_RANK_BINS] = {0};
        for (size_t j = 0; j < rows->cols; j += PHY_RANK_SUM_MOST) {
            size_t n = rows->cols - j < PHY_RANK_SUM_MOST ? rows->cols - j : PHY_RANK_SUM_MOST;
            phy_rank_add_columns(bins, from + r * row_bytes + j * code_bytes, rows->type, n, 1);
            phy_rank_fold_columns(bins, 1);
        }
        phy_rank_invert_columns(bins, 1, values + l->push.row_inverse_at + r);
    }
}

static enum phy_status take_back(struct vk_backend *b, const struct vk_slot *slot, const struct vk_job *job,
                                 const struct phy_rank_rows *rows, size_t first, const struct layout *l,
                                 uint32_t *masks)
{
    const uint32_t *results = slot->output.mapped;
    const uint32_t *words = (const uint32_t *)((const char *)slot->output.mapped + job->masks.offset);
    const uint32_t outside = rows->cols % 32 ? UINT32_MAX << rows->cols % 32 : 0;
    for (uint32_t r = 0; r < l->rows; r++) {
        const uint32_t *result = results + (size_t)r * PHY_FLOW_RESULT_WORDS;
        const uint32_t *mask = words + (size_t)r * l->mask_words;
        uint64_t count = 0;
        for (uint32_t w = 0; w < l->mask_words; w++)
            count += (uint32_t)__builtin_popcount(mask[w]);
        if (count != result[0] || result[1] > rows->cols || count > result[1] || mask[l->mask_words - 1] & outside) {
            atomic_store(&b->lost, true);
            return phy_vk_report(b, PHY_ERR_DEVICE, "device %s (%s): a row's mask and count contradict each other",
                                 b->base.name, b->base.description);
        }
        bool refused = result[2] >= PHY_FLOW_FOOD_LIMIT_BITS;
        rows->results[first + r] = (struct phy_flow_tile_result){
            .killed = result[0], .zero_before = refused ? 0 : (uint32_t)rows->cols - result[1], .peak_bits = result[2]};
    }
    memcpy(masks + first * l->mask_words, words, (size_t)l->rows * l->mask_words * sizeof *masks);
    return PHY_OK;
}

static enum phy_status run_piece(struct vk_backend *b, struct vk_slot *slot, const struct phy_rank_params *params,
                                 const struct phy_rank_rows *rows, size_t first, uint64_t count, uint32_t *masks)
{
    const struct layout l = layout_of(b, params, rows, count);
    const uint64_t alignment = b->properties.limits.minStorageBufferOffsetAlignment;
    struct vk_job job = {.workgroups = l.rows,
                         .push = &l.push,
                         .push_bytes = sizeof l.push,
                         .codes = {0, l.codes_bytes},
                         .scales = {l.values_at, l.value_words * 4},
                         .results = {0, (uint64_t)l.rows * PHY_FLOW_RESULT_WORDS * 4},
                         .upload_bytes = l.values_at + (uint64_t)l.push.scores_at * 4};
    job.masks = (struct vk_range){vk_align_up(job.results.bytes, alignment), (uint64_t)l.rows * l.mask_words * 4};
    enum phy_status status = pipeline(b, params, rows, &job.pipeline);
    if (status == PHY_OK)
        status = phy_vk_slot_reserve(b, slot, l.values_at + l.value_words * 4, job.masks.offset + job.masks.bytes);
    if (status)
        return status;
    upload(params, rows, first, &l, b->staging ? slot->staging.mapped : slot->input.mapped);
    uint64_t device_ns;
    double start = phy_seconds_now();
    status = phy_vk_submit(b, slot, &job, &device_ns);
    if (status)
        return status;
    phy_vk_learn_speed(b, &b->rank_cells_per_dispatch, (double)(count * rows->cols), device_ns,
                       phy_seconds_now() - start);
    return take_back(b, slot, &job, rows, first, &l, masks);
}

static void apply(const struct phy_rank_rows *rows, const uint32_t *masks)
{
    const size_t code_bytes = phy_float_bytes(rows->type), mask_words = phy_ceil_div(rows->cols, 32);
    for (size_t r = 0; r < rows->rows; r++) {
        char *row = (char *)rows->codes + r * rows->cols * code_bytes;
        for (size_t w = 0; w < mask_words; w++) {
            for (uint32_t bits = masks[r * mask_words + w]; bits; bits &= bits - 1)
                memset(row + (w * 32 + (size_t)__builtin_ctz(bits)) * code_bytes, 0, code_bytes);
        }
    }
}

enum phy_status phy_vk_rank(struct phy_backend *backend, uint32_t slot_index, const struct phy_rank_params *params,
                            const struct phy_rank_rows *rows)
{
    struct vk_backend *b = (struct vk_backend *)backend;
    struct vk_slot *slot = &b->slots[slot_index];
    if (atomic_load(&b->lost))
        return PHY_ERR_DEVICE; /* said when it was lost */
    if (params->group & (params->group - 1))
        return phy_vk_report(b, PHY_ERR_UNSUPPORTED, "device %s: groups of %u columns", b->base.name, params->group);
    enum phy_status status = phy_vk_masks_reserve(b, slot, (uint64_t)rows->rows * phy_ceil_div(rows->cols, 32));
    for (size_t row = 0; row < rows->rows && status == PHY_OK;) {
        struct phy_rank_rows left = *rows;
        left.rows = rows->rows - row;
        uint64_t count = rows_in_piece(b, params, &left);
        if (count == 0)
            return phy_vk_report(b, PHY_ERR_MEMORY,
                                 "out of memory: a row of %zu columns exceeds a binding of device %s", rows->cols,
                                 b->base.name);
        status = run_piece(b, slot, params, rows, row, count, slot->masks);
        row += count;
    }
    if (status == PHY_OK && rows->apply)
        apply(rows, slot->masks);
    return status;
}
