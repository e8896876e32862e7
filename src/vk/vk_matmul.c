/* SPDX-License-Identifier: Apache-2.0 */
#include "vk/vk_matmul.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/checked_math.h"
#include "base/clock.h"
#include "base/log.h"
#include "vk/vk_matmul_parts.h"

/* ---- commands ---- */

enum phy_status phy_vk_matmul_begin(struct vk_matmul *m)
{
    const VkCommandBufferBeginInfo begin = {.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO,
                                            .flags = VK_COMMAND_BUFFER_USAGE_ONE_TIME_SUBMIT_BIT};
    struct vk_slot *slot = &m->b.slots[0];
    m->dispatched = m->clocked = false;
    VkResult result = atomic_load(&m->b.lost) ? VK_ERROR_DEVICE_LOST : VK_SUCCESS;
    if (result == VK_SUCCESS)
        result = m->b.vk.vkResetCommandPool(m->b.device, slot->pool, 0);
    if (result == VK_SUCCESS)
        result = m->b.vk.vkBeginCommandBuffer(slot->commands, &begin);
    if (result == VK_SUCCESS && slot->clock)
        m->b.vk.vkCmdResetQueryPool(slot->commands, slot->clock, 0, 2);
    return result ? phy_vk_fail(&m->b, result, "commands") : PHY_OK;
}

enum phy_status phy_vk_matmul_run(struct vk_matmul *m)
{
    VkResult result = m->b.vk.vkEndCommandBuffer(m->b.slots[0].commands);
    if (result == VK_SUCCESS)
        result = phy_vk_run(&m->b, &m->b.slots[0]);
    uint64_t ticks[2] = {0, 0};
    if (result == VK_SUCCESS && m->clocked)
        result = m->b.vk.vkGetQueryPoolResults(m->b.device, m->b.slots[0].clock, 0, 2, sizeof ticks, ticks,
                                               sizeof *ticks, VK_QUERY_RESULT_64_BIT | VK_QUERY_RESULT_WAIT_BIT);
    if (result)
        return phy_vk_fail(&m->b, result, "a submission");
    m->base.device_ns += (double)((ticks[1] - ticks[0]) & m->b.clock_mask) * m->b.tick_ns;
    return PHY_OK;
}

/* When all commands before it have finished. */
static void write_clock(struct vk_matmul *m, uint32_t query)
{
    if (m->b.slots[0].clock)
        m->b.vk.vkCmdWriteTimestamp(m->b.slots[0].commands, VK_PIPELINE_STAGE_ALL_COMMANDS_BIT, m->b.slots[0].clock,
                                    query);
}

void phy_vk_matmul_barrier(struct vk_matmul *m, VkPipelineStageFlags from, VkAccessFlags wrote, VkPipelineStageFlags to,
                           VkAccessFlags reads)
{
    const VkMemoryBarrier barrier = {
        .sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER, .srcAccessMask = wrote, .dstAccessMask = reads};
    m->b.vk.vkCmdPipelineBarrier(m->b.slots[0].commands, from, to, 0, 1, &barrier, 0, NULL, 0, NULL);
}

/* Those before it have finished. Most could overlap, but they write the same buffer. */
void phy_vk_matmul_dispatch(struct vk_matmul *m, const struct vk_pipe *pipe, VkDescriptorSet set, const void *push,
                            uint32_t push_bytes, uint32_t across, uint32_t down)
{
    VkCommandBuffer commands = m->b.slots[0].commands;
    if (m->dispatched)
        phy_vk_matmul_barrier(m, VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT, VK_ACCESS_SHADER_WRITE_BIT,
                              VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT,
                              VK_ACCESS_SHADER_READ_BIT | VK_ACCESS_SHADER_WRITE_BIT);
    else
        write_clock(m, 0);
    m->dispatched = true;
    m->b.vk.vkCmdBindPipeline(commands, VK_PIPELINE_BIND_POINT_COMPUTE, pipe->handle);
    m->b.vk.vkCmdBindDescriptorSets(commands, VK_PIPELINE_BIND_POINT_COMPUTE, m->layout, 0, 1, &set, 0, NULL);
    m->b.vk.vkCmdPushConstants(commands, m->layout, VK_SHADER_STAGE_COMPUTE_BIT, 0, push_bytes, push);
    m->b.vk.vkCmdDispatch(commands, across, down, 1);
}

void phy_vk_matmul_trace(const struct vk_matmul *m, enum phy_product_kernel kernel, enum phy_weight_type type,
                         const char *form)
{
    if (!m->quiet)
        phy_kernel_ran(&m->base, kernel, type, form);
}

/* Rows (or places in a list) begin .. end - 1 of what `set` binds. The dispatches of a slow device are cut so that each
 * leaves it to others, and its watchdog content, after about a tenth of a second. */
void phy_vk_matmul_rows(struct vk_matmul *m, const struct vk_pipe *pipe, VkDescriptorSet set,
                        const struct phy_matmul_push *whole, uint64_t products_of_row)
{
    const struct vk_tile *tile = pipe->tile;
    const uint32_t unit = tile->row_lanes * tile->rows;
    uint64_t units = m->products_per_dispatch / (products_of_row * whole->count * unit);
    units = units ? phy_min_u64(units, 65535) : 1;
    for (uint64_t row = whole->row_begin; row < whole->row_end; row += units * unit) {
        struct phy_matmul_push push = *whole;
        push.row_begin = (uint32_t)row;
        push.row_end = (uint32_t)phy_min_u64(row + units * unit, whole->row_end);
        phy_vk_matmul_dispatch(m, pipe, set, &push, sizeof push, (push.row_end - push.row_begin + unit - 1) / unit,
                               (uint32_t)phy_ceil_div(whole->count, (uint64_t)tile->count_lanes * tile->count));
    }
}

static struct phy_matmul_push matmul_push(const struct vk_matrix *matrix, size_t count, const struct vk_places *at)
{
    return (struct phy_matmul_push){
        .blocks = matrix->blocks,
        .count = (uint32_t)count,
        .x_at = (uint32_t)(at->x / 4),
        .x_stride = vk_padded(matrix->cols) / 4,
        .y_at = (uint32_t)at->y,
        .y_stride = at->y_stride,
    };
}

/* Slice by slice on its own form. */
static enum phy_status record_direct(struct vk_matmul *m, enum phy_product_kernel kernel,
                                     const struct vk_matrix *matrix, size_t count, const struct vk_places *at)
{
    struct vk_pipe pipe;
    const bool int8 = kernel == PHY_KERNEL_INT8;
    const enum vk_program program = int8 ? m->int8 : VK_PROGRAM_MATMUL;
    enum phy_status status = phy_vk_matmul_pipeline(
        m, program, matrix->type, count, phy_vk_matmul_choice(m, program, matrix->type, matrix, count), &pipe);
    if (status)
        return status;
    phy_vk_matmul_trace(m, kernel, matrix->type, pipe.form);
    for (uint32_t i = 0; i < matrix->slice_count; i++) {
        const struct vk_slice *slice = &m->slices[matrix->first_slice + i];
        struct phy_matmul_push push = matmul_push(matrix, count, at);
        push.row_end = slice->rows;
        push.y_at += slice->first_row;
        push.firsts_at = phy_vk_bitmap_firsts_at(matrix, slice);
        if (kernel != PHY_KERNEL_FUSED)
            push.x_at = (uint32_t)(at->prepared / 4);
        if (!int8 && matrix->type < PHY_WEIGHT_FLOAT_COUNT)
            push.blocks = matrix->row_words;
        phy_vk_matmul_rows(m, &pipe, slice->set, &push, matrix->cols);
    }
    return PHY_OK;
}

/* Rows of a bitmap for more rows of x than this are decoded first, as on CPUs. */
static bool decodes(enum phy_product_kernel kernel, const struct vk_matrix *matrix, size_t count)
{
    return kernel == PHY_KERNEL_DEQUANT || (phy_weight_is_bitmap(matrix->type) && count > PHY_MATVEC_MAX_COUNT);
}

/* What a matrix is decoded to. */
static enum phy_weight_type decoded_type(const struct vk_matrix *matrix)
{
    return phy_weight_is_bitmap(matrix->type) ? phy_weight_bitmap_value(matrix->type) : PHY_WEIGHT_F32;
}

static void trace_decoded(const struct vk_matmul *m, enum phy_product_kernel kernel, const struct vk_matrix *matrix,
                          const struct vk_pipe *decode, const struct vk_pipe *product)
{
    char form[64];
    if (kernel == PHY_KERNEL_DEQUANT) {
        phy_vk_matmul_trace(m, kernel, matrix->type, decode->form);
        phy_vk_matmul_trace(m, kernel, PHY_WEIGHT_F32, product->form);
        return;
    }
    snprintf(form, sizeof form, "decoded_%s", product->form);
    phy_vk_matmul_trace(m, kernel, matrix->type, form);
}

/* A piece of rows at a time to floats, which are then multiplied as such. */
static enum phy_status record_decoded(struct vk_matmul *m, enum phy_product_kernel kernel,
                                      const struct vk_matrix *matrix, size_t count, const struct vk_places *at)
{
    const enum phy_weight_type type = decoded_type(matrix);
    const uint32_t unit_bytes = PHY_UNIT_COLS * (uint32_t)phy_weight_float_bytes(type);
    struct vk_pipe decode, product;
    enum phy_status status = phy_vk_matmul_pipeline(m, VK_PROGRAM_DECODE, matrix->type, 1, 0, &decode);
    if (status == PHY_OK)
        status = phy_vk_matmul_pipeline(m, VK_PROGRAM_MATMUL, type, count,
                                        phy_vk_matmul_choice(m, VK_PROGRAM_MATMUL, type, matrix, count), &product);
    if (status)
        return status;
    trace_decoded(m, kernel, matrix, &decode, &product);
    const uint64_t room = m->scratch.bytes / ((uint64_t)matrix->blocks * unit_bytes);
    const uint64_t fast = m->products_per_dispatch / matrix->cols + 1,
                   most = phy_min_u64(phy_min_u64(room, fast), 65535);
    for (uint32_t i = 0; i < matrix->slice_count; i++) {
        const struct vk_slice *slice = &m->slices[matrix->first_slice + i];
        for (uint64_t row = 0; row < slice->rows; row += most) {
            const uint64_t end = phy_min_u64(row + most, slice->rows);
            const struct phy_decode_push rows = {(uint32_t)row, (uint32_t)end, matrix->blocks,
                                                 phy_vk_bitmap_firsts_at(matrix, slice)};
            phy_vk_matmul_dispatch(m, &decode, slice->set, &rows, sizeof rows,
                                   (matrix->blocks + PHY_DECODE_INVOCATIONS - 1) / PHY_DECODE_INVOCATIONS,
                                   (uint32_t)(end - row));
            struct phy_matmul_push push = matmul_push(matrix, count, at);
            push.blocks = matrix->blocks * (unit_bytes / 16);
            push.row_end = (uint32_t)(end - row);
            push.y_at += slice->first_row + (uint32_t)row;
            phy_vk_matmul_rows(m, &product, m->scratch_set, &push, matrix->cols);
        }
    }
    return PHY_OK;
}

static enum phy_status record_product(struct vk_matmul *m, enum phy_product_kernel kernel,
                                      const struct vk_matrix *matrix, size_t count, const struct vk_places *at)
{
    if (phy_vk_matrices_take(m, kernel, matrix->type, count))
        return phy_vk_matrices_record(m, kernel, matrix, count, at);
    return decodes(kernel, matrix, count) ? record_decoded(m, kernel, matrix, count, at)
                                          : record_direct(m, kernel, matrix, count, at);
}

/* ---- activations ---- */

static void bind(struct vk_matmul *m, VkDescriptorSet set, uint32_t binding, const struct vk_buffer *buffer)
{
    const VkDescriptorBufferInfo whole = {buffer->handle, 0, buffer->bytes};
    const VkWriteDescriptorSet write = {.sType = VK_STRUCTURE_TYPE_WRITE_DESCRIPTOR_SET,
                                        .dstSet = set,
                                        .dstBinding = binding,
                                        .descriptorCount = 1,
                                        .descriptorType = VK_DESCRIPTOR_TYPE_STORAGE_BUFFER,
                                        .pBufferInfo = &whole};
    m->b.vk.vkUpdateDescriptorSets(m->b.device, 1, &write, 0, NULL);
}

void phy_vk_matmul_bind(struct vk_matmul *m, VkDescriptorSet set)
{
    if (m->arena.handle)
        bind(m, set, PHY_MATMUL_BINDING_X, &m->arena);
    if (m->arena.handle)
        bind(m, set, PHY_MATMUL_BINDING_Y, &m->arena);
    if (m->scratch.handle)
        bind(m, set, set == m->scratch_set ? PHY_MATMUL_BINDING_W : PHY_MATMUL_BINDING_SCRATCH, &m->scratch);
}

static void bind_all(struct vk_matmul *m)
{
    for (uint32_t i = 0; i < m->slice_count; i++)
        phy_vk_matmul_bind(m, m->slices[i].set);
    phy_vk_matmul_bind(m, m->arena_set);
    phy_vk_matmul_bind(m, m->scratch_set);
}

/* Room for `floats` in the arena and where the host meets it; every set is told when it moves. No commands are being
 * recorded. */
enum phy_status phy_vk_matmul_reserve(struct vk_matmul *m, uint64_t floats)
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
    bind_all(m);
    return PHY_OK;
}

/* What a row becomes in the scratch. */
static uint64_t decoded_bytes(const struct vk_matrix *matrix)
{
    return (uint64_t)matrix->blocks * PHY_UNIT_COLS * phy_weight_float_bytes(decoded_type(matrix));
}

/* Room for rows of this matrix, of `row` bytes there: all of them, up to 64 MiB and a binding. */
static enum phy_status reserve_scratch(struct vk_matmul *m, const struct vk_matrix *matrix, uint64_t row)
{
    uint64_t most = phy_min_u64(m->b.properties.limits.maxStorageBufferRange, UINT64_C(64) << 20);
    if (m->options.max_slice_bytes)
        most = phy_min_u64(most, m->options.max_slice_bytes);
    const uint64_t bytes = row > most ? row : phy_min_u64(row * matrix->rows, most);
    if (bytes > m->b.properties.limits.maxStorageBufferRange)
        return phy_vk_report(&m->b, PHY_ERR_LIMIT, "device %s (%s): a row of %u weights exceeds a binding",
                             m->b.base.name, m->b.base.description, matrix->cols);
    if (m->scratch.bytes >= bytes)
        return PHY_OK;
    enum phy_status status = phy_vk_buffer_reserve(&m->b, &m->scratch, VK_MEMORY_DEVICE, bytes);
    if (status == PHY_OK)
        bind_all(m);
    return status;
}

/* What the host writes becomes the arena, by upload where they are apart. */
static float *host_arena(const struct vk_matmul *m)
{
    return m->unified ? m->arena.mapped : m->upload.mapped;
}

static void upload(struct vk_matmul *m, uint64_t at, uint64_t floats)
{
    if (m->unified)
        return;
    const VkBufferCopy copy = {at * sizeof(float), at * sizeof(float), floats * sizeof(float)};
    m->b.vk.vkCmdCopyBuffer(m->b.slots[0].commands, m->upload.handle, m->arena.handle, 1, &copy);
    phy_vk_matmul_barrier(m, VK_PIPELINE_STAGE_TRANSFER_BIT, VK_ACCESS_TRANSFER_WRITE_BIT,
                          VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT, VK_ACCESS_SHADER_READ_BIT | VK_ACCESS_SHADER_WRITE_BIT);
}

void phy_vk_matmul_put(struct vk_matmul *m, uint64_t at, const uint32_t *words, size_t count)
{
    memcpy(host_arena(m) + at, words, count * sizeof *words);
    upload(m, at, count);
}

void phy_vk_matmul_put_listed(struct vk_matmul *m, uint64_t at, const float *from, const uint32_t *list, size_t count)
{
    float *to = host_arena(m) + at;
    for (size_t i = 0; i < count; i++)
        to[i] = from[list[i]];
    upload(m, at, count);
}

/* Each row padded with zeros. */
void phy_vk_matmul_put_x(struct vk_matmul *m, const float *x, size_t count, size_t cols)
{
    const uint32_t stride = vk_padded(cols);
    float *to = host_arena(m);
    for (size_t n = 0; n < count; n++) {
        memcpy(to + n * stride, x + n * cols, cols * sizeof *x);
        memset(to + n * stride + cols, 0, (stride - cols) * sizeof *x);
    }
    upload(m, 0, (uint64_t)count * stride);
}

/* Floats begin .. end - 1 of the arena, to where the host reads them. */
void phy_vk_matmul_fetch(struct vk_matmul *m, uint64_t begin, uint64_t end)
{
    if (m->dispatched)
        write_clock(m, 1);
    m->clocked = m->dispatched && m->b.slots[0].clock;
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

void phy_vk_matmul_take(const struct vk_matmul *m, uint64_t at, uint32_t stride, size_t count, size_t width, float *to)
{
    const float *from = (const float *)(m->unified ? m->arena.mapped : m->readback.mapped) + at;
    for (size_t n = 0; n < count; n++)
        memcpy(to + n * width, from + n * stride, width * sizeof *to);
}

/* Run what was recorded; `products` multiplications say how many a dispatch may have. */
enum phy_status phy_vk_matmul_run_timed(struct vk_matmul *m, uint64_t products)
{
    const double start = phy_seconds_now();
    enum phy_status status = phy_vk_matmul_run(m);
    const double seconds = phy_seconds_now() - start, enough = 2e-3,
                 aim = 0.1; /* shorter runs measure the submission */
    if (status == PHY_OK && seconds >= enough && !m->options.max_dispatch_products)
        m->products_per_dispatch = (uint64_t)((double)products * aim / seconds) + 1;
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

static bool can(const struct vk_matmul *m, enum phy_product_kernel kernel, enum phy_weight_type type)
{
    (void)m;
    if (kernel == PHY_KERNEL_INT8)
        return type >= PHY_WEIGHT_Q8_0 && type <= PHY_WEIGHT_Q6_K;
    if (phy_weight_is_bitmap(type))
        return kernel == PHY_KERNEL_FUSED;
    if (kernel == PHY_KERNEL_BF16)
        return type == PHY_WEIGHT_BF16;
    return kernel < PHY_KERNEL_COUNT && type < PHY_WEIGHT_TYPE_COUNT;
}

/* What a product needs beside the arena, before its commands. */
static enum phy_status prepare(struct vk_matmul *m, enum phy_product_kernel kernel, const struct vk_matrix *matrix,
                               size_t count)
{
    if (!can(m, kernel, matrix->type) || kernel == PHY_KERNEL_WALK)
        return phy_vk_report(&m->b, PHY_ERR_UNSUPPORTED, "device %s (%s): no such product of %s weights",
                             m->b.base.name, m->b.base.description, phy_weight_format(matrix->type)->name);
    if (phy_vk_matrices_take(m, kernel, matrix->type, count)) {
        const uint64_t row = phy_vk_matrices_scratch(matrix);
        enum phy_status status = row ? reserve_scratch(m, matrix, row) : PHY_OK;
        return status ? status : phy_vk_matmul_tune(m, VK_PROGRAM_MATRIX, matrix, count);
    }
    if (decodes(kernel, matrix, count))
        return reserve_scratch(m, matrix, decoded_bytes(matrix));
    return phy_vk_matmul_tune(m, kernel == PHY_KERNEL_INT8 ? m->int8 : VK_PROGRAM_MATMUL, matrix, count);
}

/* The arena: x; x in each other form that a product wants; results. */
static enum phy_status multiply_rows(struct vk_matmul *m, const struct vk_product *products, size_t product_count,
                                     const float *x, size_t count, size_t first)
{
    const uint32_t cols = m->matrices[products[0].matrix].cols;
    uint64_t prepared[VK_X_COUNT] = {0}, begin = (uint64_t)count * vk_padded(cols), work = 0;
    enum phy_status status = PHY_OK;
    for (size_t i = 0; i < product_count && status == PHY_OK; i++) {
        const struct vk_matrix *matrix = &m->matrices[products[i].matrix];
        const enum vk_x x_kind = phy_vk_x_kind(m, products[i].kernel, matrix->type, count);
        status = prepare(m, products[i].kernel, matrix, count);
        if (prepared[x_kind])
            continue;
        prepared[x_kind] = begin;
        begin += phy_vk_x_floats(x_kind, cols, count);
    }
    uint64_t end = begin;
    for (size_t i = 0; i < product_count; i++)
        end += (uint64_t)count * m->matrices[products[i].matrix].rows;
    if (status == PHY_OK)
        status = phy_vk_matmul_reserve(m, end);
    if (status == PHY_OK)
        status = phy_vk_matmul_begin(m);
    if (status)
        return status;
    phy_vk_matmul_put_x(m, x + first * cols, count, cols);
    for (int kind = 0; kind < VK_X_COUNT && status == PHY_OK; kind++) {
        if (prepared[kind])
            status = phy_vk_x_record(m, (enum vk_x)kind, cols, count, 0, prepared[kind]);
    }
    uint64_t at = begin;
    for (size_t i = 0; i < product_count && status == PHY_OK; i++) {
        const struct vk_matrix *matrix = &m->matrices[products[i].matrix];
        const enum vk_x x_kind = phy_vk_x_kind(m, products[i].kernel, matrix->type, count);
        const struct vk_places places = {0, prepared[x_kind], at, matrix->rows};
        status = record_product(m, products[i].kernel, matrix, count, &places);
        at += (uint64_t)count * matrix->rows;
        work += (uint64_t)count * matrix->rows * matrix->cols;
    }
    phy_vk_matmul_fetch(m, begin, end);
    if (status == PHY_OK)
        status = phy_vk_matmul_run_timed(m, work);
    at = begin;
    for (size_t i = 0; i < product_count && status == PHY_OK; i++) {
        const size_t rows = m->matrices[products[i].matrix].rows;
        float *y = products[i].y + first * rows;
        phy_vk_matmul_take(m, at, (uint32_t)rows, count, rows, y);
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
    const uint32_t cols = m->matrices[products[0].matrix].cols;
    uint64_t floats = vk_padded(cols);
    for (int kind = 0; kind < VK_X_COUNT; kind++)
        floats += phy_vk_x_floats((enum vk_x)kind, cols, 1);
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
    backend->device_ns = 0;
    for (size_t i = 0; i < product_count && status == PHY_OK; i += AT_ONCE) {
        struct vk_product some[AT_ONCE];
        size_t n = product_count - i < AT_ONCE ? product_count - i : AT_ONCE;
        for (size_t j = 0; j < n; j++)
            some[j] = (struct vk_product){products[i + j].w->index, products[i + j].y, products[i + j].bias,
                                          products[i + j].kernel};
        status = phy_vk_matmul_multiply((struct vk_matmul *)backend, some, n, x, count);
    }
    return status;
}

/* ---- the FFN ---- */

enum phy_status phy_vk_matmul_gate(struct vk_matmul *m, const struct phy_ffn_gate_push *push, size_t count)
{
    struct vk_pipe pipe;
    enum phy_status status = phy_vk_matmul_pipeline(m, VK_PROGRAM_GATE, PHY_WEIGHT_F32, 1, 0, &pipe);
    if (status == PHY_OK)
        phy_vk_matmul_dispatch(m, &pipe, m->arena_set, push, sizeof *push,
                               (push->out_stride + PHY_FFN_GATE_INVOCATIONS - 1) / PHY_FFN_GATE_INVOCATIONS,
                               (uint32_t)count);
    return status;
}

/* Where the activations of an ffn lie in the arena (floats): x, then gate and up, either one after the other or in
 * turn, then gated, in rows padded as those of x, then y. Before x and gated's products: each in the form that they
 * want.
 */
struct ffn_places {
    uint64_t prepared, gate, up, gated, gated_prepared, y, end;
    enum vk_x x_kind, gated_kind;
    uint32_t cols, wide; /* hidden and intermediate */
    uint32_t step;       /* from one of gate's values to the next */
};

static uint64_t whole_words(uint64_t floats)
{
    return (floats + 3) / 4 * 4;
}

static struct ffn_places ffn_places(const struct vk_matmul *m, const struct vk_ffn *ffn, size_t count)
{
    const struct vk_matrix *first = &m->matrices[ffn->gate], *up = &m->matrices[ffn->up],
                           *down = &m->matrices[ffn->down];
    struct ffn_places at = {.cols = first->cols, .wide = down->cols, .step = ffn->paired ? 2 : 1};
    /* Of one kernel there is at most one form beside x itself. */
    at.x_kind = phy_vk_x_kind(m, ffn->kernel, first->type, count);
    if (at.x_kind == VK_X_PLAIN && !ffn->paired)
        at.x_kind = phy_vk_x_kind(m, ffn->kernel, up->type, count);
    at.gated_kind = phy_vk_x_kind(m, ffn->kernel, down->type, count);
    at.prepared = (uint64_t)count * vk_padded(at.cols);
    at.gate = at.prepared + phy_vk_x_floats(at.x_kind, at.cols, count);
    at.up = ffn->paired ? at.gate + 1 : at.gate + (uint64_t)count * at.wide;
    at.gated = whole_words(at.gate + 2 * (uint64_t)count * at.wide);
    at.gated_prepared = at.gated + (uint64_t)count * vk_padded(at.wide);
    at.y = at.gated_prepared + phy_vk_x_floats(at.gated_kind, at.wide, count);
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
    const struct vk_places gate = {0, at->prepared, at->gate, stride}, up = {0, at->prepared, at->up, stride};
    const struct vk_places out = {at->gated, at->gated_prepared, at->y, down->rows};
    enum phy_status status = phy_vk_x_record(m, at->x_kind, at->cols, count, 0, at->prepared);
    if (status == PHY_OK)
        status = record_product(m, ffn->kernel, &m->matrices[ffn->gate], count, &gate);
    if (status == PHY_OK && !ffn->paired)
        status = record_product(m, ffn->kernel, &m->matrices[ffn->up], count, &up);
    if (status == PHY_OK)
        status = phy_vk_matmul_gate(m, &push, count);
    if (status == PHY_OK)
        status = phy_vk_x_record(m, at->gated_kind, at->wide, count, at->gated, at->gated_prepared);
    return status ? status : record_product(m, ffn->kernel, down, count, &out);
}

static enum phy_status ffn_rows(struct vk_matmul *m, const struct vk_ffn *ffn, size_t count, size_t first)
{
    const struct ffn_places at = ffn_places(m, ffn, count);
    const uint32_t hidden = m->matrices[ffn->down].rows;
    enum phy_status status = phy_vk_matmul_reserve(m, at.end);
    if (status == PHY_OK)
        status = phy_vk_matmul_begin(m);
    if (status)
        return status;
    phy_vk_matmul_put_x(m, ffn->x + first * at.cols, count, at.cols);
    status = record_ffn(m, ffn, &at, count);
    phy_vk_matmul_fetch(m, ffn->gated ? at.gated : at.y, at.end);
    if (status == PHY_OK)
        status = phy_vk_matmul_run_timed(m, (uint64_t)count * at.wide * (2 * (uint64_t)at.cols + hidden));
    if (status)
        return status;
    if (ffn->gated)
        phy_vk_matmul_take(m, at.gated, vk_padded(at.wide), count, at.wide, ffn->gated + first * at.wide);
    phy_vk_matmul_take(m, at.y, hidden, count, hidden, ffn->y + first * hidden);
    return PHY_OK;
}

enum phy_status phy_vk_matmul_ffn(struct vk_matmul *m, const struct vk_ffn *ffn)
{
    size_t step = 1;
    enum phy_status status = prepare(m, ffn->kernel, &m->matrices[ffn->gate], ffn->count);
    if (status == PHY_OK && !ffn->paired)
        status = prepare(m, ffn->kernel, &m->matrices[ffn->up], ffn->count);
    if (status == PHY_OK)
        status = prepare(m, ffn->kernel, &m->matrices[ffn->down], ffn->count);
    if (status == PHY_OK)
        status = rows_at_a_time(m, ffn_places(m, ffn, ffn->count).end / ffn->count + 4, ffn->count, &step);
    for (size_t n = 0; n < ffn->count && status == PHY_OK; n += step)
        status = ffn_rows(m, ffn, ffn->count - n < step ? ffn->count - n : step, n);
    return status;
}

static enum phy_status ffn(struct phy_matmul_backend *backend, const struct phy_ffn_product *p)
{
    const struct vk_ffn product = {.gate = p->gate_up ? p->gate_up->index : p->gate->index,
                                   .up = p->gate_up ? 0 : p->up->index,
                                   .down = p->down->index,
                                   .paired = p->gate_up != NULL,
                                   .activation = p->activation,
                                   .kernel = p->kernel,
                                   .x = p->x,
                                   .count = p->count,
                                   .gated = p->gated,
                                   .y = p->y};
    backend->device_ns = 0;
    return phy_vk_matmul_ffn((struct vk_matmul *)backend, &product);
}

/* ---- opening and closing ---- */

static void destroy(struct phy_matmul_backend *backend)
{
    struct vk_matmul *m = (struct vk_matmul *)backend;
    struct vk_backend *b = &m->b;
    if (b->device) {
        b->vk.vkDeviceWaitIdle(b->device);
        phy_vk_matmul_unload(backend);
        phy_vk_buffer_free(b, &m->arena);
        phy_vk_buffer_free(b, &m->upload);
        phy_vk_buffer_free(b, &m->readback);
        phy_vk_buffer_free(b, &m->scratch);
        phy_vk_matmul_pipelines_destroy(m);
        phy_vk_matmul_cache_close(m);
        phy_vk_matmul_tune_close(m);
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
    phy_free(m->choices);
    phy_free(m);
}

static enum phy_status create_layouts(struct vk_matmul *m)
{
    struct vk_backend *b = &m->b;
    const uint32_t count = PHY_MATMUL_BINDINGS + (m->texels ? PHY_MATMUL_TEXELS : 0);
    VkDescriptorSetLayoutBinding bindings[PHY_MATMUL_BINDINGS + PHY_MATMUL_TEXELS];
    static_assert(PHY_MATMUL_BINDING_TEXELS == PHY_MATMUL_BINDINGS, "after the storage buffers");
    for (uint32_t i = 0; i < count; i++)
        bindings[i] = (VkDescriptorSetLayoutBinding){
            .binding = i,
            .descriptorType = i >= PHY_MATMUL_BINDING_TEXELS ? VK_DESCRIPTOR_TYPE_UNIFORM_TEXEL_BUFFER
                                                             : VK_DESCRIPTOR_TYPE_STORAGE_BUFFER,
            .descriptorCount = 1,
            .stageFlags = VK_SHADER_STAGE_COMPUTE_BIT,
        };
    const VkDescriptorSetLayoutCreateInfo set_info = {
        .sType = VK_STRUCTURE_TYPE_DESCRIPTOR_SET_LAYOUT_CREATE_INFO,
        .bindingCount = count,
        .pBindings = bindings,
    };
    VkResult result = b->vk.vkCreateDescriptorSetLayout(b->device, &set_info, NULL, &m->set_layout);
    if (result)
        return phy_vk_fail(b, result, "a descriptor set layout");
    static_assert(sizeof(struct phy_matmul_push) >= sizeof(struct phy_ffn_gate_push) &&
                      sizeof(struct phy_matmul_push) >= sizeof(struct phy_walk_push),
                  "one range serves all");
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
    enum phy_status status = phy_vk_matmul_add_pool(m, 2);
    if (status == PHY_OK)
        status = phy_vk_matmul_new_set(m, &m->arena_set);
    return status ? status : phy_vk_matmul_new_set(m, &m->scratch_set);
}

static bool offers(const struct phy_matmul_backend *backend, enum phy_product_kernel kernel, enum phy_weight_type type)
{
    return can((const struct vk_matmul *)backend, kernel, type);
}

const char *phy_vk_matmul_form(char out[PHY_VK_FORM_BYTES], const char *tiles, const char *dots)
{
    snprintf(out, PHY_VK_FORM_BYTES, "%s%s%s%s", tiles || dots ? "/" : "", tiles ? tiles : "", tiles && dots ? "+" : "",
             dots ? dots : "");
    return out;
}

enum phy_status phy_vk_matmul_create(struct phy_matmul_backend **out, uint32_t index,
                                     const struct phy_vk_matmul_options *options, const struct phy_host *host)
{
    static const struct phy_matmul_backend_ops ops = {.load = phy_vk_matmul_load,
                                                      .unload = phy_vk_matmul_unload,
                                                      .offers = offers,
                                                      .multiply = multiply,
                                                      .ffn = ffn,
                                                      .walk = phy_vk_matmul_walk,
                                                      .destroy = destroy};
    *out = NULL;
    struct vk_matmul *m = phy_zalloc(1, sizeof *m);
    if (!m)
        return phy_fail_memory(host, "a device", sizeof *m);
    m->base.ops = &ops;
    if (options)
        m->options = *options;
    enum phy_status status = phy_vk_device_open(&m->b, index, &(struct phy_vk_options){0}, host);
    if (status == PHY_OK)
        status = phy_vk_matmul_choose(m);
    if (status == PHY_OK)
        status = create_layouts(m);
    if (status) {
        destroy(&m->base);
        return status;
    }
    phy_vk_matmul_cache_open(m);
    phy_vk_matmul_tune_open(m);
    VkPhysicalDeviceType type = m->b.properties.deviceType;
    m->unified = (type == VK_PHYSICAL_DEVICE_TYPE_CPU || type == VK_PHYSICAL_DEVICE_TYPE_INTEGRATED_GPU) &&
                 phy_vk_host_writes_device_memory(&m->b.memory) && !m->options.copies;
    m->products_per_dispatch = m->options.max_dispatch_products ? m->options.max_dispatch_products : 64 << 20;
    char form[PHY_VK_FORM_BYTES];
    snprintf(m->base.name, sizeof m->base.name, "vulkan:%u%s", index,
             phy_vk_matmul_form(form, m->options.tiles, m->options.dots));
    snprintf(m->base.description, sizeof m->base.description, "%s", m->b.base.description);
    *out = &m->base;
    return PHY_OK;
}
