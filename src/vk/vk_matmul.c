/* SPDX-License-Identifier: Apache-2.0 */
#include "vk/vk_matmul.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/alloc.h"
#include "base/checked_math.h"
#include "base/log.h"
#include "vk/vk_matmul_parts.h"

/* ---- tiles ---- */

const char *const phy_vk_matmul_tile_names[] = {"rows", "lanes", NULL};

/* `rows` for drivers on a CPU: a load costs more than several products, neighbours in memory gain nothing. `lanes` for
 * GPUs: 32 neighbours read 512 bytes of a row; sums of a workgroup in shared memory stay below 16 KiB, 128 invocations.
 * All tiles up to 8 rows of x have the same lanes, so that their sums have the same order. */
static const struct vk_tile tile_sets[][VK_TILE_COUNT] = {
    {{1, 8, 1, 8, 1}, {1, 8, 1, 8, 4}, {1, 8, 1, 8, 8}, {1, 8, 1, 8, 8}},
    {{32, 4, 1, 4, 1}, {32, 4, 1, 4, 4}, {32, 4, 1, 2, 8}, {8, 4, 4, 4, 4}},
};

static uint32_t tile_index(size_t count)
{
    return count == 1 ? 0 : count <= 4 ? 1 : count <= PHY_MATVEC_MAX_COUNT ? 2 : 3;
}

static enum phy_status create_pipeline(struct vk_matmul *m, struct vk_spirv spirv,
                                       const VkSpecializationInfo *constants, VkPipeline *out)
{
    VkShaderModule module;
    enum phy_status status = phy_vk_module_create(&m->b, spirv, &module);
    if (status)
        return status;
    status = phy_vk_pipeline_create(&m->b, module, m->layout, constants, out);
    m->b.vk.vkDestroyShaderModule(m->b.device, module, NULL);
    return status;
}

static enum phy_status pipeline(struct vk_matmul *m, enum phy_weight_type type, uint32_t index, VkPipeline *out)
{
    const struct vk_tile *tile = &m->tiles[index];
    const uint32_t values[PHY_MATMUL_SPEC_COUNT] = {
        [PHY_MATMUL_SPEC_INVOCATIONS] = tile->lanes * tile->row_lanes * tile->count_lanes,
        [PHY_MATMUL_SPEC_LANES] = tile->lanes,
        [PHY_MATMUL_SPEC_ROW_LANES] = tile->row_lanes,
        [PHY_MATMUL_SPEC_COUNT_LANES] = tile->count_lanes,
    };
    VkSpecializationMapEntry entries[PHY_MATMUL_SPEC_COUNT];
    for (uint32_t i = 0; i < PHY_MATMUL_SPEC_COUNT; i++)
        entries[i] = (VkSpecializationMapEntry){.constantID = i, .offset = 4 * i, .size = 4};
    const VkSpecializationInfo constants = {
        .mapEntryCount = PHY_MATMUL_SPEC_COUNT, .pMapEntries = entries, .dataSize = sizeof values, .pData = values};
    VkPipeline *made = &m->pipelines[type][index];
    if (!*made) {
        enum phy_status status =
            create_pipeline(m, phy_vk_spirv_matmul(type, tile->rows, tile->count), &constants, made);
        if (status)
            return status;
    }
    *out = *made;
    return PHY_OK;
}

/* ---- commands ---- */

enum phy_status phy_vk_matmul_begin(struct vk_matmul *m)
{
    const VkCommandBufferBeginInfo begin = {.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO,
                                            .flags = VK_COMMAND_BUFFER_USAGE_ONE_TIME_SUBMIT_BIT};
    struct vk_slot *slot = &m->b.slots[0];
    m->dispatched = false;
    VkResult result = atomic_load(&m->b.lost) ? VK_ERROR_DEVICE_LOST : VK_SUCCESS;
    if (result == VK_SUCCESS)
        result = m->b.vk.vkResetCommandPool(m->b.device, slot->pool, 0);
    if (result == VK_SUCCESS)
        result = m->b.vk.vkBeginCommandBuffer(slot->commands, &begin);
    return result ? phy_vk_fail(&m->b, result, "commands") : PHY_OK;
}

enum phy_status phy_vk_matmul_run(struct vk_matmul *m)
{
    VkResult result = m->b.vk.vkEndCommandBuffer(m->b.slots[0].commands);
    if (result == VK_SUCCESS)
        result = phy_vk_run(&m->b, &m->b.slots[0]);
    return result ? phy_vk_fail(&m->b, result, "a submission") : PHY_OK;
}

void phy_vk_matmul_barrier(struct vk_matmul *m, VkPipelineStageFlags from, VkAccessFlags wrote, VkPipelineStageFlags to,
                           VkAccessFlags reads)
{
    const VkMemoryBarrier barrier = {
        .sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER, .srcAccessMask = wrote, .dstAccessMask = reads};
    m->b.vk.vkCmdPipelineBarrier(m->b.slots[0].commands, from, to, 0, 1, &barrier, 0, NULL, 0, NULL);
}

/* One dispatch; those before it have finished. Most could overlap, but they write the same buffer. */
static void dispatch(struct vk_matmul *m, VkDescriptorSet set, const void *push, uint32_t push_bytes, uint32_t across,
                     uint32_t down)
{
    VkCommandBuffer commands = m->b.slots[0].commands;
    if (m->dispatched)
        phy_vk_matmul_barrier(m, VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT, VK_ACCESS_SHADER_WRITE_BIT,
                              VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT,
                              VK_ACCESS_SHADER_READ_BIT | VK_ACCESS_SHADER_WRITE_BIT);
    m->dispatched = true;
    m->b.vk.vkCmdBindDescriptorSets(commands, VK_PIPELINE_BIND_POINT_COMPUTE, m->layout, 0, 1, &set, 0, NULL);
    m->b.vk.vkCmdPushConstants(commands, m->layout, VK_SHADER_STAGE_COMPUTE_BIT, 0, push_bytes, push);
    m->b.vk.vkCmdDispatch(commands, across, down, 1);
}

static void trace(const struct vk_matmul *m, enum phy_product_kernel kernel, enum phy_weight_type type,
                  const char *form)
{
    if (!m->quiet)
        phy_kernel_ran(&m->base, kernel, type, form);
}

/* One matrix, its activations at these places of the arena (floats). The dispatches of a slow device are cut so that
 * each leaves it to others, and its watchdog content, after about a tenth of a second. */
static enum phy_status record_product(struct vk_matmul *m, const struct vk_matrix *matrix, size_t count, uint64_t x_at,
                                      uint64_t y_at, uint32_t y_stride)
{
    uint32_t index = tile_index(count);
    const struct vk_tile *tile = &m->tiles[index];
    VkPipeline handle;
    enum phy_status status = pipeline(m, matrix->type, index, &handle);
    if (status)
        return status;
    const uint32_t unit = tile->row_lanes * tile->rows;
    uint64_t units = m->products_per_dispatch / ((uint64_t)matrix->cols * count * unit);
    units = units ? phy_min_u64(units, 65535) : 1;
    m->b.vk.vkCmdBindPipeline(m->b.slots[0].commands, VK_PIPELINE_BIND_POINT_COMPUTE, handle);
    char form[32];
    snprintf(form, sizeof form, "%s_%ux%u", m->tiles_name, tile->rows, tile->count);
    trace(m, PHY_KERNEL_FUSED, matrix->type, form);
    for (uint32_t i = 0; i < matrix->slice_count; i++) {
        const struct vk_slice *slice = &m->slices[matrix->first_slice + i];
        for (uint64_t row = 0; row < slice->rows; row += units * unit) {
            uint32_t end = (uint32_t)phy_min_u64(row + units * unit, slice->rows);
            const struct phy_matmul_push push = {
                .row_begin = (uint32_t)row,
                .row_end = end,
                .blocks = matrix->blocks,
                .count = (uint32_t)count,
                .x_at = (uint32_t)(x_at / 4),
                .x_stride = vk_padded(matrix->cols) / 4,
                .y_at = (uint32_t)(y_at + slice->first_row),
                .y_stride = y_stride,
            };
            dispatch(m, slice->set, &push, sizeof push, (end - (uint32_t)row + unit - 1) / unit,
                     (uint32_t)phy_ceil_div(count, (uint64_t)tile->count_lanes * tile->count));
        }
    }
    return PHY_OK;
}

/* ---- activations ---- */

void phy_vk_matmul_bind_arena(struct vk_matmul *m, VkDescriptorSet set)
{
    const VkDescriptorBufferInfo arena = {m->arena.handle, 0, m->arena.bytes};
    VkWriteDescriptorSet writes[2];
    for (uint32_t i = 0; i < 2; i++)
        writes[i] = (VkWriteDescriptorSet){.sType = VK_STRUCTURE_TYPE_WRITE_DESCRIPTOR_SET,
                                           .dstSet = set,
                                           .dstBinding = i ? PHY_MATMUL_BINDING_Y : PHY_MATMUL_BINDING_X,
                                           .descriptorCount = 1,
                                           .descriptorType = VK_DESCRIPTOR_TYPE_STORAGE_BUFFER,
                                           .pBufferInfo = &arena};
    m->b.vk.vkUpdateDescriptorSets(m->b.device, 2, writes, 0, NULL);
}

/* Room for `floats` in the arena and where the host meets it; every set is told when it moves. */
static enum phy_status reserve(struct vk_matmul *m, uint64_t floats)
{
    uint64_t bytes = 256;
    while (bytes < floats * sizeof(float))
        bytes *= 2;
    if (m->arena.bytes >= bytes)
        return PHY_OK;
    enum phy_status status =
        phy_vk_buffer_reserve(&m->b, &m->arena, m->unified ? VK_MEMORY_READBACK : VK_MEMORY_DEVICE, bytes);
    if (status == PHY_OK && !m->unified)
        status = phy_vk_buffer_reserve(&m->b, &m->upload, VK_MEMORY_UPLOAD, bytes);
    if (status == PHY_OK && !m->unified)
        status = phy_vk_buffer_reserve(&m->b, &m->readback, VK_MEMORY_READBACK, bytes);
    if (status) {
        phy_vk_buffer_free(&m->b, &m->arena); /* the next call starts again */
        return status;
    }
    for (uint32_t i = 0; i < m->slice_count; i++)
        phy_vk_matmul_bind_arena(m, m->slices[i].set);
    phy_vk_matmul_bind_arena(m, m->gate_set);
    return PHY_OK;
}

/* x to the beginning of the arena, each row padded with zeros. */
static void put_x(struct vk_matmul *m, const float *x, size_t count, size_t cols)
{
    const uint32_t stride = vk_padded(cols);
    float *to = m->unified ? m->arena.mapped : m->upload.mapped;
    for (size_t n = 0; n < count; n++) {
        memcpy(to + n * stride, x + n * cols, cols * sizeof *x);
        memset(to + n * stride + cols, 0, (stride - cols) * sizeof *x);
    }
    if (m->unified)
        return;
    const VkBufferCopy copy = {.size = count * stride * sizeof(float)};
    m->b.vk.vkCmdCopyBuffer(m->b.slots[0].commands, m->upload.handle, m->arena.handle, 1, &copy);
    phy_vk_matmul_barrier(m, VK_PIPELINE_STAGE_TRANSFER_BIT, VK_ACCESS_TRANSFER_WRITE_BIT,
                          VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT, VK_ACCESS_SHADER_READ_BIT | VK_ACCESS_SHADER_WRITE_BIT);
}

/* Floats begin .. end - 1 of the arena, to where the host reads them. */
static void fetch(struct vk_matmul *m, uint64_t begin, uint64_t end)
{
    if (m->unified) {
        phy_vk_matmul_barrier(m, VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT, VK_ACCESS_SHADER_WRITE_BIT,
                              VK_PIPELINE_STAGE_HOST_BIT, VK_ACCESS_HOST_READ_BIT);
        return;
    }
    const VkBufferCopy copy = {begin * sizeof(float), begin * sizeof(float), (end - begin) * sizeof(float)};
    phy_vk_matmul_barrier(m, VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT, VK_ACCESS_SHADER_WRITE_BIT,
                          VK_PIPELINE_STAGE_TRANSFER_BIT, VK_ACCESS_TRANSFER_READ_BIT);
    m->b.vk.vkCmdCopyBuffer(m->b.slots[0].commands, m->arena.handle, m->readback.handle, 1, &copy);
    phy_vk_matmul_barrier(m, VK_PIPELINE_STAGE_TRANSFER_BIT, VK_ACCESS_TRANSFER_WRITE_BIT, VK_PIPELINE_STAGE_HOST_BIT,
                          VK_ACCESS_HOST_READ_BIT);
}

static void take_rows(const struct vk_matmul *m, uint64_t at, uint32_t stride, size_t count, size_t width, float *to)
{
    const float *from = (const float *)(m->unified ? m->arena.mapped : m->readback.mapped) + at;
    for (size_t n = 0; n < count; n++)
        memcpy(to + n * width, from + n * stride, width * sizeof *to);
}

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* Run what was recorded; `products` multiplications say how many a dispatch may have. */
static enum phy_status run_timed(struct vk_matmul *m, uint64_t products)
{
    uint64_t start = now_ns();
    enum phy_status status = phy_vk_matmul_run(m);
    uint64_t ns = now_ns() - start;
    const uint64_t enough_ns = 2000000, dispatch_ns = 100000000; /* shorter runs measure the submission */
    if (status == PHY_OK && ns >= enough_ns && !m->options.max_dispatch_products)
        m->products_per_dispatch = (uint64_t)((double)products * (double)dispatch_ns / (double)ns) + 1;
    return status;
}

/* Rows of x at a time, so that the arena stays within a binding and 64 MiB; a row has `floats`. */
static enum phy_status rows_at_a_time(struct vk_matmul *m, uint64_t floats, size_t count, size_t *out)
{
    uint64_t room = phy_min_u64(m->b.properties.limits.maxStorageBufferRange, UINT64_C(64) << 20);
    /* reserve takes powers of two */
    while (room & (room - 1))
        room &= room - 1;
    room /= sizeof(float);
    if (floats > room)
        return phy_vk_report(&m->b, PHY_ERR_LIMIT, "device %s (%s): %llu activations of one position exceed a binding",
                             m->b.base.name, m->b.base.description, (unsigned long long)floats);
    *out = (size_t)phy_min_u64(room / floats, count);
    return PHY_OK;
}

/* ---- products ---- */

static enum phy_status multiply_rows(struct vk_matmul *m, const struct vk_product *products, size_t product_count,
                                     const float *x, size_t count, size_t first)
{
    const size_t cols = m->matrices[products[0].matrix].cols;
    const uint64_t begin = (uint64_t)count * vk_padded(cols);
    uint64_t end = begin, work = 0;
    for (size_t i = 0; i < product_count; i++)
        end += (uint64_t)count * m->matrices[products[i].matrix].rows;
    enum phy_status status = reserve(m, end);
    if (status == PHY_OK)
        status = phy_vk_matmul_begin(m);
    if (status)
        return status;
    put_x(m, x + first * cols, count, cols);
    uint64_t at = begin;
    for (size_t i = 0; i < product_count && status == PHY_OK; i++) {
        const struct vk_matrix *matrix = &m->matrices[products[i].matrix];
        status = record_product(m, matrix, count, 0, at, matrix->rows);
        at += (uint64_t)count * matrix->rows;
        work += (uint64_t)count * matrix->rows * matrix->cols;
    }
    fetch(m, begin, end);
    if (status == PHY_OK)
        status = run_timed(m, work);
    at = begin;
    for (size_t i = 0; i < product_count && status == PHY_OK; i++) {
        const size_t rows = m->matrices[products[i].matrix].rows;
        float *y = products[i].y + first * rows;
        take_rows(m, at, (uint32_t)rows, count, rows, y);
        for (size_t n = 0; products[i].bias && n < count; n++) {
            for (size_t r = 0; r < rows; r++)
                y[n * rows + r] += products[i].bias[r];
        }
        at += (uint64_t)count * rows;
    }
    return status;
}

enum phy_status phy_vk_matmul_multiply(struct vk_matmul *m, const struct vk_product *products, size_t product_count,
                                       const float *x, size_t count)
{
    uint64_t floats = vk_padded(m->matrices[products[0].matrix].cols);
    for (size_t i = 0; i < product_count; i++)
        floats += m->matrices[products[i].matrix].rows;
    size_t step = 1;
    enum phy_status status = rows_at_a_time(m, floats, count, &step);
    for (size_t n = 0; n < count && status == PHY_OK; n += step)
        status = multiply_rows(m, products, product_count, x, count - n < step ? count - n : step, n);
    return status;
}

static enum phy_status multiply(struct phy_matmul_backend *backend, const struct phy_product *products,
                                size_t product_count, const float *x, size_t count)
{
    enum { AT_ONCE = 8 };
    enum phy_status status = PHY_OK;
    for (size_t i = 0; i < product_count && status == PHY_OK; i += AT_ONCE) {
        struct vk_product some[AT_ONCE];
        size_t n = product_count - i < AT_ONCE ? product_count - i : AT_ONCE;
        for (size_t j = 0; j < n; j++)
            some[j] = (struct vk_product){products[i + j].w->index, products[i + j].y, products[i + j].bias};
        status = phy_vk_matmul_multiply((struct vk_matmul *)backend, some, n, x, count);
    }
    return status;
}

/* ---- the FFN ---- */

static enum phy_status record_gate(struct vk_matmul *m, const struct phy_ffn_gate_push *push, size_t count)
{
    enum phy_status status = PHY_OK;
    if (!m->gate_pipeline)
        status = create_pipeline(m, phy_vk_spirv_ffn_gate(), NULL, &m->gate_pipeline);
    if (status)
        return status;
    m->b.vk.vkCmdBindPipeline(m->b.slots[0].commands, VK_PIPELINE_BIND_POINT_COMPUTE, m->gate_pipeline);
    dispatch(m, m->gate_set, push, sizeof *push,
             (push->out_stride + PHY_FFN_GATE_INVOCATIONS - 1) / PHY_FFN_GATE_INVOCATIONS, (uint32_t)count);
    return PHY_OK;
}

/* Where the activations of an ffn lie in the arena (floats): x, then gate and up, either one after the other or in
 * turn, then gated, in rows padded as those of x, then y. */
struct ffn_places {
    uint64_t gate, up, gated, y, end;
    uint32_t wide; /* intermediate */
    uint32_t step; /* from one of gate's values to the next */
};

static struct ffn_places ffn_places(const struct vk_matmul *m, const struct vk_ffn *ffn, size_t count)
{
    const struct vk_matrix *first = &m->matrices[ffn->gate], *down = &m->matrices[ffn->down];
    struct ffn_places at = {.wide = down->cols, .step = ffn->paired ? 2 : 1};
    at.gate = (uint64_t)count * vk_padded(first->cols);
    at.up = ffn->paired ? at.gate + 1 : at.gate + (uint64_t)count * at.wide;
    at.gated = at.gate + 2 * (uint64_t)count * at.wide;
    at.gated = (at.gated + 3) / 4 * 4; /* vec4s */
    at.y = at.gated + (uint64_t)count * vk_padded(at.wide);
    at.end = at.y + (uint64_t)count * down->rows;
    return at;
}

static enum phy_status record_ffn(struct vk_matmul *m, const struct vk_ffn *ffn, const struct ffn_places *at,
                                  size_t count)
{
    const struct vk_matrix *down = &m->matrices[ffn->down];
    const uint32_t stride = at->wide * at->step;
    const struct phy_ffn_gate_push push = {.width = at->wide,
                                           .step = at->step,
                                           .in_stride = stride,
                                           .out_stride = vk_padded(at->wide),
                                           .gate_at = (uint32_t)at->gate,
                                           .up_at = (uint32_t)at->up,
                                           .out_at = (uint32_t)at->gated,
                                           .activation = (uint32_t)ffn->activation};
    enum phy_status status = record_product(m, &m->matrices[ffn->gate], count, 0, at->gate, stride);
    if (status == PHY_OK && !ffn->paired)
        status = record_product(m, &m->matrices[ffn->up], count, 0, at->up, stride);
    if (status == PHY_OK)
        status = record_gate(m, &push, count);
    if (status == PHY_OK)
        status = record_product(m, down, count, at->gated, at->y, down->rows);
    return status;
}

static enum phy_status ffn_rows(struct vk_matmul *m, const struct vk_ffn *ffn, size_t count, size_t first)
{
    const struct ffn_places at = ffn_places(m, ffn, count);
    const uint32_t cols = m->matrices[ffn->gate].cols, hidden = m->matrices[ffn->down].rows;
    enum phy_status status = reserve(m, at.end);
    if (status == PHY_OK)
        status = phy_vk_matmul_begin(m);
    if (status)
        return status;
    put_x(m, ffn->x + first * cols, count, cols);
    status = record_ffn(m, ffn, &at, count);
    fetch(m, ffn->gated ? at.gated : at.y, at.end);
    if (status == PHY_OK)
        status = run_timed(m, (uint64_t)count * at.wide * (2 * (uint64_t)cols + hidden));
    if (status)
        return status;
    if (ffn->gated)
        take_rows(m, at.gated, vk_padded(at.wide), count, at.wide, ffn->gated + first * at.wide);
    take_rows(m, at.y, hidden, count, hidden, ffn->y + first * hidden);
    return PHY_OK;
}

enum phy_status phy_vk_matmul_ffn(struct vk_matmul *m, const struct vk_ffn *ffn)
{
    size_t step = 1;
    enum phy_status status = rows_at_a_time(m, ffn_places(m, ffn, 1).end + 4, ffn->count, &step);
    for (size_t n = 0; n < ffn->count && status == PHY_OK; n += step) {
        const size_t count = ffn->count - n < step ? ffn->count - n : step;
        status = ffn_rows(m, ffn, count, n);
    }
    return status;
}

static enum phy_status ffn(struct phy_matmul_backend *backend, const struct phy_ffn_product *p)
{
    const struct vk_ffn product = {.gate = p->gate_up ? p->gate_up->index : p->gate->index,
                                   .up = p->gate_up ? 0 : p->up->index,
                                   .down = p->down->index,
                                   .paired = p->gate_up != NULL,
                                   .activation = p->activation,
                                   .x = p->x,
                                   .count = p->count,
                                   .gated = p->gated,
                                   .y = p->y};
    return phy_vk_matmul_ffn((struct vk_matmul *)backend, &product);
}

/* ---- opening and closing ---- */

static void destroy(struct phy_matmul_backend *backend)
{
    struct vk_matmul *m = (struct vk_matmul *)backend;
    struct vk_backend *b = &m->b;
    if (b->device) {
        b->vk.vkDeviceWaitIdle(b->device);
        for (uint32_t i = 0; i < m->chunk_count; i++)
            phy_vk_buffer_free(b, &m->chunks[i].buffer);
        phy_vk_buffer_free(b, &m->arena);
        phy_vk_buffer_free(b, &m->upload);
        phy_vk_buffer_free(b, &m->readback);
        for (uint32_t i = 0; i < PHY_WEIGHT_TYPE_COUNT * VK_TILE_COUNT; i++)
            b->vk.vkDestroyPipeline(b->device, m->pipelines[i / VK_TILE_COUNT][i % VK_TILE_COUNT], NULL);
        b->vk.vkDestroyPipeline(b->device, m->gate_pipeline, NULL);
        for (uint32_t i = 0; i < m->pool_count; i++)
            b->vk.vkDestroyDescriptorPool(b->device, m->pools[i], NULL);
        b->vk.vkDestroyPipelineLayout(b->device, m->layout, NULL);
        b->vk.vkDestroyDescriptorSetLayout(b->device, m->set_layout, NULL);
    }
    phy_vk_device_close(b);
    phy_free(m->matrices);
    phy_free(m->slices);
    phy_free(m->chunks);
    phy_free(m->pools);
    phy_free(m);
}

static enum phy_status create_layouts(struct vk_matmul *m)
{
    struct vk_backend *b = &m->b;
    VkDescriptorSetLayoutBinding bindings[PHY_MATMUL_BINDINGS];
    for (uint32_t i = 0; i < PHY_MATMUL_BINDINGS; i++)
        bindings[i] = (VkDescriptorSetLayoutBinding){
            .binding = i,
            .descriptorType = VK_DESCRIPTOR_TYPE_STORAGE_BUFFER,
            .descriptorCount = 1,
            .stageFlags = VK_SHADER_STAGE_COMPUTE_BIT,
        };
    const VkDescriptorSetLayoutCreateInfo set_info = {
        .sType = VK_STRUCTURE_TYPE_DESCRIPTOR_SET_LAYOUT_CREATE_INFO,
        .bindingCount = PHY_MATMUL_BINDINGS,
        .pBindings = bindings,
    };
    VkResult result = b->vk.vkCreateDescriptorSetLayout(b->device, &set_info, NULL, &m->set_layout);
    if (result)
        return phy_vk_fail(b, result, "a descriptor set layout");
    static_assert(sizeof(struct phy_matmul_push) >= sizeof(struct phy_ffn_gate_push), "one range serves both");
    const VkPushConstantRange range = {.stageFlags = VK_SHADER_STAGE_COMPUTE_BIT,
                                       .size = sizeof(struct phy_matmul_push)};
    const VkPipelineLayoutCreateInfo layout_info = {
        .sType = VK_STRUCTURE_TYPE_PIPELINE_LAYOUT_CREATE_INFO,
        .setLayoutCount = 1,
        .pSetLayouts = &m->set_layout,
        .pushConstantRangeCount = 1,
        .pPushConstantRanges = &range,
    };
    result = b->vk.vkCreatePipelineLayout(b->device, &layout_info, NULL, &m->layout);
    if (result)
        return phy_vk_fail(b, result, "a pipeline layout");
    enum phy_status status = phy_vk_matmul_add_pool(m, 1);
    return status ? status : phy_vk_matmul_new_set(m, &m->gate_set);
}

static enum phy_status choose_tiles(struct vk_matmul *m)
{
    bool cpu = m->b.properties.deviceType == VK_PHYSICAL_DEVICE_TYPE_CPU;
    m->tiles = tile_sets[cpu ? 0 : 1];
    m->tiles_name = phy_vk_matmul_tile_names[cpu ? 0 : 1];
    for (size_t i = 0; m->options.tiles; i++) {
        if (!phy_vk_matmul_tile_names[i])
            return phy_vk_report(&m->b, PHY_ERR_USAGE, "device %s: no tiles \"%.32s\"", m->b.base.name,
                                 m->options.tiles);
        if (strcmp(phy_vk_matmul_tile_names[i], m->options.tiles) == 0) {
            m->tiles = tile_sets[i];
            m->tiles_name = phy_vk_matmul_tile_names[i];
            break;
        }
    }
    return PHY_OK;
}

static bool offers(const struct phy_matmul_backend *backend, enum phy_product_kernel kernel, enum phy_weight_type type)
{
    (void)backend;
    return kernel == PHY_KERNEL_FUSED && type < PHY_WEIGHT_TYPE_COUNT;
}

enum phy_status phy_vk_matmul_create(struct phy_matmul_backend **out, uint32_t index,
                                     const struct phy_vk_matmul_options *options, const struct phy_host *host)
{
    static const struct phy_matmul_backend_ops ops = {
        .load = phy_vk_matmul_load, .offers = offers, .multiply = multiply, .ffn = ffn, .destroy = destroy};
    *out = NULL;
    struct vk_matmul *m = phy_zalloc(1, sizeof *m);
    if (!m)
        return phy_fail_memory(host, "a device", sizeof *m);
    m->base.ops = &ops;
    if (options)
        m->options = *options;
    enum phy_status status = phy_vk_device_open(&m->b, index, &(struct phy_vk_options){0}, host);
    if (status == PHY_OK)
        status = choose_tiles(m);
    if (status == PHY_OK)
        status = create_layouts(m);
    if (status) {
        destroy(&m->base);
        return status;
    }
    VkPhysicalDeviceType type = m->b.properties.deviceType;
    m->unified = (type == VK_PHYSICAL_DEVICE_TYPE_CPU || type == VK_PHYSICAL_DEVICE_TYPE_INTEGRATED_GPU) &&
                 phy_vk_host_writes_device_memory(&m->b.memory) && !m->options.copies;
    m->products_per_dispatch = m->options.max_dispatch_products ? m->options.max_dispatch_products : 64 << 20;
    snprintf(m->base.name, sizeof m->base.name, "vulkan:%u", index);
    snprintf(m->base.description, sizeof m->base.description, "%s", m->b.base.description);
    *out = &m->base;
    return PHY_OK;
}
