/* SPDX-License-Identifier: Apache-2.0 */
/* A region in pieces: upload, dispatch, take back one bit a weight. The codes change only after every piece came back.
 */
#include <string.h>

#include "base/alloc.h"
#include "base/checked_math.h"
#include "base/clock.h"
#include "base/log.h"
#include "vk/vk.h"

struct piece {
    uint64_t row, col; /* in the region */
    uint32_t rows, cols, tiles_across, tiles;
    uint32_t row_words;
    uint64_t codes_bytes;
};

/* Tiles that a piece may have: by time, by memory, by the device's limits. At least one. */
static uint64_t tiles_in_piece(const struct vk_backend *b, const struct phy_flow_params *params, size_t code_bytes)
{
    uint64_t cells = (uint64_t)params->block * params->block;
    uint64_t tiles = atomic_load(&b->cell_steps_per_dispatch) / (cells * params->iterations);
    tiles = phy_min_u64(tiles, b->max_input_bytes / (cells * code_bytes));
    tiles = phy_min_u64(tiles, b->properties.limits.maxComputeWorkGroupCount[0]);
    if (b->max_piece_weights)
        tiles = phy_min_u64(tiles, b->max_piece_weights / cells);
    return tiles ? tiles : 1;
}

/* The piece that starts at (row, col): whole rows of tiles if one fits, else a part of one row. */
static struct piece plan_piece(const struct phy_flow_region *region, uint32_t block, uint64_t row, uint64_t col,
                               uint64_t tiles)
{
    uint64_t across = phy_ceil_div(region->cols, block), down = 1;
    if (col == 0 && tiles >= across)
        down = tiles / across;
    else
        across = phy_min_u64(tiles, phy_ceil_div(region->cols - col, block));
    down = phy_min_u64(down, phy_ceil_div(region->rows - row, block));
    struct piece p = {.row = row, .col = col};
    p.rows = (uint32_t)phy_min_u64(down * block, region->rows - row);
    p.cols = (uint32_t)phy_min_u64(across * block, region->cols - col);
    p.tiles_across = (uint32_t)across;
    p.tiles = (uint32_t)(across * down);
    p.row_words = (uint32_t)phy_ceil_div(p.cols * phy_float_bytes(region->type), 4);
    p.codes_bytes = (uint64_t)p.rows * p.row_words * 4;
    return p;
}

static void upload(const struct phy_flow_region *region, const struct piece *p, char *to, char *scales_to)
{
    size_t code_bytes = phy_float_bytes(region->type), pitch = (size_t)p->row_words * 4;
    const char *from = (const char *)region->codes + (p->row * region->cols + p->col) * code_bytes;
    size_t from_pitch = region->cols * code_bytes, row_bytes = p->cols * code_bytes;
    if (from_pitch == pitch) {
        memcpy(to, from, p->rows * pitch);
    } else {
        for (uint32_t r = 0; r < p->rows; r++)
            memcpy(to + r * pitch, from + r * from_pitch, row_bytes);
    }
    if (region->column_scale)
        memcpy(scales_to, region->column_scale + p->col, p->cols * sizeof(float));
}

static struct phy_flow_push push_of(const struct piece *p, const struct phy_flow_params *params)
{
    struct phy_flow_push push = {
        .rows = p->rows,
        .cols = p->cols,
        .row_words = p->row_words,
        .tiles_across = p->tiles_across,
        .iterations = params->iterations,
        .half_gain = 0.5f * params->gain,
    };
    uint32_t bottom = p->rows % params->block, right = p->cols % params->block;
    for (uint32_t i = 0; i < 4; i++) {
        uint32_t rows = i & 2 && bottom ? bottom : params->block, cols = i & 1 && right ? right : params->block;
        push.mean_factor[i] = (float)(0.015625 / (double)(rows * cols));
    }
    return push;
}

void phy_vk_learn_speed(struct vk_backend *b, atomic_uint_fast64_t *work_per_dispatch, double work, uint64_t device_ns,
                        double wall_seconds)
{
    const double dispatch_ns = 100e6;
    double ns = device_ns ? (double)device_ns : wall_seconds * 1e9;
    double fit = work * dispatch_ns / (ns > 1 ? ns : 1), largest = work * 4;
    double before = (double)atomic_load(work_per_dispatch);
    if (fit > largest)
        fit = largest > before ? largest : before;
    atomic_store(work_per_dispatch, (uint64_t)(fit < 1 ? 1 : fit));
    atomic_fetch_add(&b->compute_ns, device_ns);
    atomic_fetch_add(&b->dispatches, 1);
}

enum phy_status phy_vk_slot_reserve(struct vk_backend *b, struct vk_slot *slot, uint64_t input_bytes,
                                    uint64_t output_bytes)
{
    enum vk_memory kind = b->staging ? VK_MEMORY_DEVICE : VK_MEMORY_DEVICE_MAPPED;
    enum phy_status status = phy_vk_buffer_reserve(b, &slot->input, kind, input_bytes);
    if (status == PHY_OK && b->staging)
        status = phy_vk_buffer_reserve(b, &slot->staging, VK_MEMORY_UPLOAD, input_bytes);
    return status ? status : phy_vk_buffer_reserve(b, &slot->output, VK_MEMORY_READBACK, output_bytes);
}

/* Layout: input is [codes][scales], output is [results][masks]. */
static struct vk_job job_of(const struct vk_backend *b, const struct phy_flow_region *region, const struct piece *p,
                            const struct phy_flow_params *params)
{
    uint64_t alignment = b->properties.limits.minStorageBufferOffsetAlignment;
    struct vk_job job = {.workgroups = p->tiles};
    job.codes = (struct vk_range){0, p->codes_bytes};
    job.scales = job.codes;
    job.upload_bytes = p->codes_bytes;
    if (region->column_scale) {
        job.scales = (struct vk_range){vk_align_up(p->codes_bytes, alignment), (uint64_t)p->cols * 4};
        job.upload_bytes = job.scales.offset + job.scales.bytes;
    }
    job.results = (struct vk_range){0, (uint64_t)p->tiles * PHY_FLOW_RESULT_WORDS * 4};
    uint64_t mask_bytes = (uint64_t)p->tiles * params->block * params->block / 8;
    job.masks = (struct vk_range){vk_align_up(job.results.bytes, alignment), mask_bytes};
    return job;
}

/* Results go to the region's tiles, masks to `masks` (of the whole region, tile by tile), or stay in the slot's output.
 */
static enum phy_status take_back(struct vk_backend *b, const struct vk_slot *slot, const struct vk_job *job,
                                 const struct piece *p, const struct phy_flow_params *params,
                                 struct phy_flow_region *region, uint32_t *masks)
{
    const uint32_t *results = slot->output.mapped;
    const uint32_t *words = (const uint32_t *)((const char *)slot->output.mapped + job->masks.offset);
    uint32_t block = params->block, tile_words = block * block / 32;
    uint64_t across = phy_ceil_div(region->cols, block);
    for (uint32_t i = 0; i < p->tiles; i++) {
        const uint32_t *result = results + (size_t)i * PHY_FLOW_RESULT_WORDS;
        uint64_t down_index = p->row / block + i / p->tiles_across, across_index = p->col / block + i % p->tiles_across;
        uint64_t tile = down_index * across + across_index;
        struct vk_mask_tile mask = {.words = words + (size_t)i * tile_words,
                                    .block = block,
                                    .shape = b->shapes[vk_block_index(block)],
                                    .rows = (uint32_t)phy_min_u64(block, region->rows - down_index * block),
                                    .cols = (uint32_t)phy_min_u64(block, region->cols - across_index * block)};
        uint32_t cells = mask.rows * mask.cols;
        if (result[1] > cells || result[0] > result[1] || phy_vk_mask_count(&mask) != result[0]) {
            atomic_store(&b->lost, true);
            return phy_vk_report(b, PHY_ERR_DEVICE, "device %s (%s): a tile's mask and count contradict each other",
                                 b->base.name, b->base.description);
        }
        bool refused = result[2] >= PHY_FLOW_FOOD_LIMIT_BITS;
        region->tiles[tile] = (struct phy_flow_tile_result){
            .killed = result[0], .zero_before = refused ? 0 : cells - result[1], .peak_bits = result[2]};
        if (masks)
            memcpy(masks + tile * tile_words, mask.words, tile_words * sizeof *masks);
    }
    return PHY_OK;
}

/* *output_masks: the piece's masks, in the slot's output until its next piece. */
static enum phy_status run_piece(struct vk_backend *b, struct vk_slot *slot, const struct phy_flow_params *params,
                                 struct phy_flow_region *region, const struct piece *p, uint32_t *masks,
                                 const uint32_t **output_masks)
{
    struct vk_job job = job_of(b, region, p, params);
    struct phy_flow_push push = push_of(p, params);
    job.push = &push;
    job.push_bytes = sizeof push;
    enum phy_status status = phy_vk_flow_pipeline(b, params, region->type, region->column_scale, &job.pipeline);
    if (status == PHY_OK)
        status = phy_vk_slot_reserve(b, slot, job.upload_bytes, job.masks.offset + job.masks.bytes);
    if (status)
        return status;
    char *to = b->staging ? slot->staging.mapped : slot->input.mapped;
    upload(region, p, to, to + job.scales.offset);
    uint64_t device_ns;
    const double start = phy_seconds_now();
    status = phy_vk_submit(b, slot, &job, &device_ns);
    if (status)
        return status;
    const double steps = (double)p->tiles * params->block * params->block * params->iterations;
    phy_vk_learn_speed(b, &b->cell_steps_per_dispatch, steps, device_ns, phy_seconds_now() - start);
    *output_masks = (const uint32_t *)((const char *)slot->output.mapped + job.masks.offset);
    return take_back(b, slot, &job, p, params, region, masks);
}

static void apply(const struct vk_backend *b, const struct phy_flow_params *params, struct phy_flow_region *region,
                  const uint32_t *masks)
{
    uint32_t block = params->block, tile_words = block * block / 32;
    const struct phy_flow_tile_result *result = region->tiles;
    for (uint64_t r = 0; r < region->rows; r += block) {
        for (uint64_t c = 0; c < region->cols; c += block, masks += tile_words, result++) {
            struct vk_mask_tile tile = {.words = masks,
                                        .block = block,
                                        .shape = b->shapes[vk_block_index(block)],
                                        .rows = (uint32_t)phy_min_u64(block, region->rows - r),
                                        .cols = (uint32_t)phy_min_u64(block, region->cols - c)};
            char *codes = (char *)region->codes + (r * region->cols + c) * phy_float_bytes(region->type);
            if (result->killed)
                phy_vk_mask_apply(&tile, codes, region->cols, region->type);
        }
    }
}

enum phy_status phy_vk_masks_reserve(struct vk_backend *b, struct vk_slot *slot, uint64_t words)
{
    if (slot->mask_words >= words)
        return PHY_OK;
    phy_free(slot->masks);
    slot->mask_words = 0;
    slot->masks = phy_alloc(words, sizeof *slot->masks);
    if (!slot->masks)
        return phy_vk_report(b, PHY_ERR_MEMORY, "out of memory: a region's masks");
    slot->mask_words = words;
    return PHY_OK;
}

enum phy_status phy_vk_flow(struct phy_backend *backend, uint32_t slot_index, const struct phy_flow_params *params,
                            struct phy_flow_region *region)
{
    struct vk_backend *b = (struct vk_backend *)backend;
    struct vk_slot *slot = &b->slots[slot_index];
    if (atomic_load(&b->lost))
        return PHY_ERR_DEVICE; /* said when it was lost */
    size_t code_bytes = phy_float_bytes(region->type);
    uint32_t *masks = NULL;
    const uint32_t *output_masks = NULL;
    uint64_t row = 0, col = 0;
    while (row < region->rows) {
        struct piece p = plan_piece(region, params->block, row, col, tiles_in_piece(b, params, code_bytes));
        bool whole = p.rows == region->rows && p.cols == region->cols;
        enum phy_status status = PHY_OK;
        if (region->apply && !whole && !masks) {
            uint64_t tiles = phy_flow_region_tile_count(region->rows, region->cols, params->block);
            status = phy_vk_masks_reserve(b, slot, tiles * params->block * params->block / 32);
            masks = slot->masks;
        }
        if (status == PHY_OK)
            status = run_piece(b, slot, params, region, &p, masks, &output_masks);
        if (status)
            return status;
        col += p.cols;
        if (col >= region->cols) {
            col = 0;
            row += p.rows;
        }
    }
    if (region->apply)
        apply(b, params, region, masks ? masks : output_masks);
    return PHY_OK;
}
