/* SPDX-License-Identifier: Apache-2.0 */
/* Products of many rows of x by VK_KHR_cooperative_matrix (matmul_matrix.comp). Its matrices hold binary16: weights of
 * that type go there as they are stored; of others a piece of rows at a time is decoded to the scratch, as for DEQUANT,
 * but as one or two binary16 numbers (split_rows.comp). */
#include <stdio.h>

#include "base/checked_math.h"
#include "vk/vk_matmul_parts.h"

/* Subgroups of 32 x 32 each; the fixed choice, then others that vk_matmul_tune.c may find faster. A sum's order is the
 * same in all. */
static const struct vk_tile tiles[VK_TILE_CHOICES] = {
    {.row_lanes = 2, .count_lanes = 2, .rows = 32, .count = 32},
    {.row_lanes = 4, .count_lanes = 2, .rows = 32, .count = 32},
    {.row_lanes = 2, .count_lanes = 4, .rows = 32, .count = 32},
    {.row_lanes = 4, .count_lanes = 4, .rows = 32, .count = 32},
};

/* Binary16 numbers whose sum is a weight, scaled: 2 where it may have more than 11 significant bits. Those of fp8 have
 * 8, two factors of 4; of mxfp4 2. */
static uint32_t pieces_of(enum phy_weight_type type)
{
    switch (type) {
    case PHY_WEIGHT_F16:
    case PHY_WEIGHT_BF16:
    case PHY_WEIGHT_FP8:
    case PHY_WEIGHT_MXFP4:
        return 1;
    default:
        return 2;
    }
}

/* As matmul_matrix.comp's STAGE, with two pieces of x. */
static uint64_t shared_bytes(const struct vk_tile *tile, const struct vk_matrix_shape *shape, uint32_t w_pieces)
{
    const uint64_t lines = (uint64_t)(tile->row_lanes * tile->rows * w_pieces + tile->count_lanes * tile->count * 2);
    const uint64_t sums = (uint64_t)tile->row_lanes * tile->count_lanes * shape->m * shape->n * sizeof(float);
    return lines * 5 * 16 > sums ? lines * 5 * 16 : sums;
}

static bool can_run(const struct vk_backend *b, const struct vk_tile *tile, uint32_t w_pieces)
{
    const VkPhysicalDeviceLimits *limits = &b->properties.limits;
    const uint32_t invocations = b->subgroup_size * tile->row_lanes * tile->count_lanes;
    return b->matrix.m && invocations <= limits->maxComputeWorkGroupInvocations &&
           invocations <= limits->maxComputeWorkGroupSize[0] &&
           shared_bytes(tile, &b->matrix, w_pieces) <= limits->maxComputeSharedMemorySize;
}

bool phy_vk_matrices_run(const struct vk_backend *b)
{
    return can_run(b, &tiles[0], 2);
}

uint32_t phy_vk_matrices_choices(const struct vk_matmul *m, enum phy_weight_type type)
{
    uint32_t count = 1;
    while (count < VK_TILE_CHOICES && can_run(&m->b, &tiles[count], pieces_of(type)))
        count++;
    return count;
}

bool phy_vk_matrices_take(const struct vk_matmul *m, enum phy_product_kernel kernel, enum phy_weight_type type,
                          size_t count)
{
    return m->matrices_on && count > PHY_MATVEC_MAX_COUNT && type < PHY_WEIGHT_TYPE_COUNT &&
           (kernel == PHY_KERNEL_FUSED || kernel == PHY_KERNEL_BF16);
}

/* By the pieces of w, those of x, and whether w has exponents. */
static enum phy_status pipeline(struct vk_matmul *m, enum phy_weight_type type, enum vk_x x, uint32_t choice,
                                struct vk_pipe *out)
{
    choice = choice < phy_vk_matrices_choices(m, type) ? choice : 0;
    struct vk_tile *tile = &m->matrix_tiles[choice];
    *tile = tiles[choice];
    tile->lanes = m->b.subgroup_size;
    const struct vk_matrix_shape *shape = &m->b.matrix;
    const uint32_t w_pieces = pieces_of(type), x_pieces = phy_vk_x_pieces(x), exponents = type != PHY_WEIGHT_F16;
    const uint32_t values[PHY_MATRIX_SPEC_END] = {
        [PHY_MATMUL_SPEC_INVOCATIONS] = tile->lanes * tile->row_lanes * tile->count_lanes,
        [PHY_MATMUL_SPEC_LANES] = tile->lanes,
        [PHY_MATMUL_SPEC_ROW_LANES] = tile->row_lanes,
        [PHY_MATMUL_SPEC_COUNT_LANES] = tile->count_lanes,
        [PHY_MATRIX_SPEC_ROWS] = tile->rows,
        [PHY_MATRIX_SPEC_COUNT] = tile->count,
        [PHY_MATRIX_SPEC_M] = shape->m,
        [PHY_MATRIX_SPEC_N] = shape->n,
        [PHY_MATRIX_SPEC_K] = shape->k,
        [PHY_MATRIX_SPEC_W_PIECES] = w_pieces,
        [PHY_MATRIX_SPEC_X_PIECES] = x_pieces,
        [PHY_MATRIX_SPEC_W_EXPONENTS] = exponents,
    };
    if (m->options.spoil_matrices == 2)
        return phy_vk_fail(&m->b, VK_ERROR_INITIALIZATION_FAILED, "a pipeline");
    VkPipeline *made = &m->matrix_pipelines[choice][(w_pieces - 1) * 4 + (x_pieces - 1) * 2 + exponents];
    enum phy_status status =
        *made ? PHY_OK : phy_vk_matmul_make(m, "matmul_matrix", values, PHY_MATRIX_SPEC_END, m->b.subgroup_size, made);
    *out = (struct vk_pipe){.handle = *made, .tile = tile};
    /* The last: the device's products for one of ours. */
    snprintf(out->form, sizeof out->form, "matrix_%ux%ux%u_%u", shape->m, shape->n, shape->k, w_pieces + x_pieces - 1);
    return status;
}

/* Of a row of split weights, with its exponent. */
static uint64_t split_row_bytes(const struct vk_matrix *matrix)
{
    const uint64_t units = vk_padded(matrix->cols) / PHY_UNIT_COLS;
    return units * pieces_of(matrix->type) * PHY_SPLIT_WORDS * 16 + sizeof(uint32_t);
}

uint64_t phy_vk_matrices_scratch(const struct vk_matrix *matrix)
{
    return matrix->type == PHY_WEIGHT_F16 ? 0 : split_row_bytes(matrix);
}

static struct phy_matmul_push push_of(const struct vk_matrix *matrix, enum vk_x x, size_t count,
                                      const struct vk_places *at)
{
    const uint32_t units = vk_padded(matrix->cols) / PHY_UNIT_COLS;
    return (struct phy_matmul_push){
        .blocks = matrix->row_words,
        .count = (uint32_t)count,
        .x_at = (uint32_t)(at->prepared / 4),
        .x_stride = units * PHY_SPLIT_WORDS * phy_vk_x_pieces(x),
        .y_at = (uint32_t)at->y,
        .y_stride = at->y_stride,
        .units = units,
        .x_exponents_at = (uint32_t)(at->prepared + phy_vk_x_exponents_at(x, matrix->cols, count)),
    };
}

enum phy_status phy_vk_matrices_sample(struct vk_matmul *m, const struct vk_matrix *matrix, size_t count, uint32_t rows,
                                       uint32_t choice, struct vk_pipe *pipe, struct phy_matmul_push *push,
                                       VkDescriptorSet *set)
{
    const uint64_t row_bytes = phy_vk_matrices_scratch(matrix), words = row_bytes / 16;
    const struct vk_places at = {.y = 2 * count * vk_padded(matrix->cols), .y_stride = matrix->rows};
    *push = push_of(matrix, VK_X_SPLIT, count, &at);
    *set = m->slices[matrix->first_slice].set;
    push->row_end = rows;
    if (row_bytes) {
        *set = m->scratch_set;
        push->row_end = (uint32_t)phy_min_u64(rows, m->scratch.bytes / row_bytes);
        push->blocks = (uint32_t)words;
        push->w_exponents_at = (uint32_t)(push->row_end * words * 4);
    }
    return pipeline(m, matrix->type, VK_X_SPLIT, choice, pipe);
}

/* A slice's rows, a piece at a time: to the scratch, and multiplied from there. */
static enum phy_status record_split_slice(struct vk_matmul *m, const struct vk_matrix *matrix,
                                          const struct vk_slice *slice, const struct vk_pipe *product,
                                          const struct phy_matmul_push *whole)
{
    struct vk_pipe split;
    enum phy_status status = phy_vk_matmul_pipeline(m, VK_PROGRAM_SPLIT, matrix->type, 1, 0, &split);
    if (status)
        return status;
    const uint64_t row_bytes = split_row_bytes(matrix), words = row_bytes / 16;
    const uint64_t fast = m->products_per_dispatch / matrix->cols + 1;
    const uint64_t most = phy_min_u64(phy_min_u64(m->scratch.bytes / row_bytes, fast), 65535);
    for (uint64_t row = 0; row < slice->rows; row += most) {
        const uint64_t rows = phy_min_u64(most, slice->rows - row);
        struct phy_matmul_push push = *whole;
        push.blocks = (uint32_t)words;
        push.row_end = (uint32_t)rows;
        push.y_at += (uint32_t)row;
        push.w_exponents_at = (uint32_t)(rows * words * 4);
        const struct phy_split_push split_push = {.row_begin = (uint32_t)row,
                                                  .units = push.units,
                                                  .pieces = pieces_of(matrix->type),
                                                  .exponents_at = push.w_exponents_at};
        phy_vk_matmul_dispatch(m, &split, slice->set, &split_push, sizeof split_push, (uint32_t)rows, 1);
        phy_vk_matmul_rows(m, product, m->scratch_set, &push, matrix->cols);
    }
    return PHY_OK;
}

enum phy_status phy_vk_matrices_record(struct vk_matmul *m, enum phy_product_kernel kernel,
                                       const struct vk_matrix *matrix, size_t count, const struct vk_places *at)
{
    struct vk_pipe pipe;
    const enum vk_x x = phy_vk_x_kind(m, kernel, matrix->type, count);
    enum phy_status status =
        pipeline(m, matrix->type, x, phy_vk_matmul_choice(m, VK_PROGRAM_MATRIX, matrix->type, matrix, count), &pipe);
    if (status)
        return status;
    phy_vk_matmul_trace(m, kernel, matrix->type, pipe.form);
    for (uint32_t i = 0; i < matrix->slice_count && status == PHY_OK; i++) {
        const struct vk_slice *slice = &m->slices[matrix->first_slice + i];
        struct phy_matmul_push push = push_of(matrix, x, count, at);
        push.row_end = slice->rows;
        push.y_at += slice->first_row;
        if (matrix->type == PHY_WEIGHT_F16)
            phy_vk_matmul_rows(m, &pipe, slice->set, &push, matrix->cols);
        else
            status = record_split_slice(m, matrix, slice, &pipe, &push);
    }
    return status;
}
