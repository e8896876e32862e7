/* SPDX-License-Identifier: Apache-2.0 */
/* Weights onto the device, once. A matrix is cut into slices of whole rows that a binding reaches; slices lie one after
 * another in chunks of device memory, rows padded to whole blocks of 16 bytes. */
#include <string.h>

#include "base/alloc.h"
#include "base/checked_math.h"
#include "base/log.h"
#include "vk/vk_matmul_parts.h"

enum { BLOCK_BYTES = 16 };
/* Of slices in a chunk: the most that Vulkan lets a device ask for (minStorageBufferOffsetAlignment). */
static const VkDeviceSize slice_align = 256;
/* A chunk holds several slices of common size; on a device of separate memory, what one copy moves. */
static const VkDeviceSize usual_chunk = (VkDeviceSize)512 << 20, upload_bytes = (VkDeviceSize)16 << 20;

static VkDeviceSize row_bytes(const struct vk_matrix *matrix)
{
    return (VkDeviceSize)matrix->blocks * BLOCK_BYTES;
}

/* ---- the plan ---- */

static enum phy_status list_matrices(struct vk_matmul *m, struct phy_weights *const *matrices, size_t count,
                                     const struct vk_matmul_self_test *test, const bool types[VK_TYPE_COUNT])
{
    m->matrices = phy_zalloc(count + VK_SELF_TEST_MATRICES, sizeof *m->matrices);
    if (!m->matrices || count > UINT32_MAX / 2)
        return phy_vk_report(&m->b, PHY_ERR_MEMORY, "out of memory: a list of %zu matrices", count);
    for (size_t i = 0; i < count + VK_SELF_TEST_MATRICES; i++) {
        size_t own = i - count;
        const struct phy_weights *w = i < count ? matrices[i] : &test->matrices[own];
        if (i >= count && !types[w->type])
            continue;
        if (w->rows > INT32_MAX || w->cols > INT32_MAX)
            return phy_vk_report(&m->b, PHY_ERR_LIMIT, "device %s: a matrix of %zu x %zu is too large", m->b.base.name,
                                 w->rows, w->cols);
        const uint32_t block_cols = (uint32_t)(BLOCK_BYTES / phy_weight_float_bytes(w->type));
        m->matrices[m->matrix_count++] =
            (struct vk_matrix){.w = w,
                               .type = w->type,
                               .rows = (uint32_t)w->rows,
                               .cols = (uint32_t)w->cols,
                               .blocks = ((uint32_t)w->cols + block_cols - 1) / block_cols};
    }
    return PHY_OK;
}

static VkDeviceSize chunk_limit(const struct vk_matmul *m)
{
    VkPhysicalDeviceMaintenance3Properties limit = {.sType =
                                                        VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MAINTENANCE_3_PROPERTIES};
    VkPhysicalDeviceProperties2 properties = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2, .pNext = &limit};
    vkGetPhysicalDeviceProperties2(m->b.physical, &properties);
    VkDeviceSize bytes = phy_min_u64(usual_chunk, limit.maxMemoryAllocationSize);
    return m->options.max_chunk_bytes ? phy_min_u64(bytes, m->options.max_chunk_bytes) : bytes;
}

static VkDeviceSize device_memory(const struct vk_matmul *m)
{
    VkDeviceSize heap = 0;
    if (m->options.max_weight_bytes)
        return m->options.max_weight_bytes;
    for (uint32_t i = 0; i < m->b.memory.memoryHeapCount; i++) {
        if (m->b.memory.memoryHeaps[i].flags & VK_MEMORY_HEAP_DEVICE_LOCAL_BIT &&
            m->b.memory.memoryHeaps[i].size > heap)
            heap = m->b.memory.memoryHeaps[i].size;
    }
    return heap;
}

static enum phy_status add_slice(struct vk_matmul *m, const struct vk_slice *slice)
{
    struct vk_slice *grown = phy_realloc(m->slices, (size_t)m->slice_count + 1, sizeof *grown);
    if (!grown)
        return phy_vk_report(&m->b, PHY_ERR_MEMORY, "out of memory: a list of matrices");
    m->slices = grown;
    grown[m->slice_count++] = *slice;
    return PHY_OK;
}

/* Slices of every matrix, and the chunks that hold them: chunk_bytes. */
static enum phy_status plan(struct vk_matmul *m)
{
    const VkDeviceSize chunk = chunk_limit(m);
    VkDeviceSize limit = phy_min_u64(m->b.properties.limits.maxStorageBufferRange, chunk), at = chunk;
    if (m->options.max_slice_bytes)
        limit = phy_min_u64(limit, m->options.max_slice_bytes);
    for (uint32_t i = 0; i < m->matrix_count; i++) {
        struct vk_matrix *matrix = &m->matrices[i];
        if (row_bytes(matrix) > limit)
            return phy_vk_report(&m->b, PHY_ERR_LIMIT, "device %s (%s): a row of %u weights exceeds a binding",
                                 m->b.base.name, m->b.base.description, matrix->cols);
        const uint32_t most = (uint32_t)phy_min_u64(limit / row_bytes(matrix), matrix->rows);
        matrix->first_slice = m->slice_count;
        for (uint32_t row = 0; row < matrix->rows; row += most) {
            struct vk_slice slice = {.first_row = row, .rows = matrix->rows - row < most ? matrix->rows - row : most};
            slice.bytes = slice.rows * row_bytes(matrix);
            at = (at + slice_align - 1) / slice_align * slice_align;
            if (at + slice.bytes > chunk) {
                VkDeviceSize *grown = phy_realloc(m->chunk_bytes, (size_t)m->planned_chunks + 1, sizeof *grown);
                if (!grown)
                    return phy_vk_report(&m->b, PHY_ERR_MEMORY, "out of memory: a list of weights");
                m->chunk_bytes = grown;
                m->planned_chunks++;
                at = 0;
            }
            slice.chunk = m->planned_chunks - 1;
            slice.at = at;
            at += slice.bytes;
            m->chunk_bytes[slice.chunk] = at;
            enum phy_status status = add_slice(m, &slice);
            if (status)
                return status;
        }
        matrix->slice_count = m->slice_count - matrix->first_slice;
    }
    return PHY_OK;
}

static enum phy_status allocate_chunks(struct vk_matmul *m)
{
    VkDeviceSize total = 0, have = device_memory(m);
    const uint32_t count = m->planned_chunks;
    for (uint32_t i = 0; i < count; i++)
        total += m->chunk_bytes[i];
    m->chunks = phy_zalloc(count, sizeof *m->chunks);
    if (!m->chunks)
        return phy_vk_report(&m->b, PHY_ERR_MEMORY, "out of memory: a list of weights");
    if (total > have)
        return phy_vk_report(&m->b, PHY_ERR_MEMORY,
                             "out of memory: the model's weights take %.2f GB, device %s (%s) has %.2f GB",
                             (double)total / 1e9, m->b.base.name, m->b.base.description, (double)have / 1e9);
    for (uint32_t i = 0; i < count; i++) {
        enum phy_status status = phy_vk_buffer_reserve(
            &m->b, &m->chunks[i], m->unified ? VK_MEMORY_DEVICE_MAPPED : VK_MEMORY_DEVICE, m->chunk_bytes[i]);
        m->chunk_count = i + 1;
        if (status)
            return status;
    }
    return PHY_OK;
}

static enum phy_status create_sets(struct vk_matmul *m)
{
    struct vk_backend *b = &m->b;
    const VkDescriptorPoolSize size = {VK_DESCRIPTOR_TYPE_STORAGE_BUFFER, PHY_MATMUL_BINDINGS * (m->slice_count + 1)};
    const VkDescriptorPoolCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_DESCRIPTOR_POOL_CREATE_INFO,
        .maxSets = m->slice_count + 1,
        .poolSizeCount = 1,
        .pPoolSizes = &size,
    };
    VkResult result = b->vk.vkCreateDescriptorPool(b->device, &info, NULL, &m->pool);
    const VkDescriptorSetAllocateInfo set_info = {.sType = VK_STRUCTURE_TYPE_DESCRIPTOR_SET_ALLOCATE_INFO,
                                                  .descriptorPool = m->pool,
                                                  .descriptorSetCount = 1,
                                                  .pSetLayouts = &m->set_layout};
    if (result == VK_SUCCESS)
        result = b->vk.vkAllocateDescriptorSets(b->device, &set_info, &m->gate_set);
    for (uint32_t i = 0; i < m->slice_count && result == VK_SUCCESS; i++) {
        struct vk_slice *slice = &m->slices[i];
        result = b->vk.vkAllocateDescriptorSets(b->device, &set_info, &slice->set);
        if (result)
            break;
        const VkDescriptorBufferInfo w = {m->chunks[slice->chunk].handle, slice->at, slice->bytes};
        const VkWriteDescriptorSet write = {.sType = VK_STRUCTURE_TYPE_WRITE_DESCRIPTOR_SET,
                                            .dstSet = slice->set,
                                            .dstBinding = PHY_MATMUL_BINDING_W,
                                            .descriptorCount = 1,
                                            .descriptorType = VK_DESCRIPTOR_TYPE_STORAGE_BUFFER,
                                            .pBufferInfo = &w};
        b->vk.vkUpdateDescriptorSets(b->device, 1, &write, 0, NULL);
    }
    return result ? phy_vk_fail(b, result, "descriptor sets") : PHY_OK;
}

/* ---- the copy ---- */

static void pad_rows(char *to, const struct vk_matrix *matrix, uint32_t first, uint32_t rows)
{
    const size_t stored = matrix->cols * phy_weight_float_bytes(matrix->type), padded = (size_t)row_bytes(matrix);
    const char *from = (const char *)matrix->w->data + first * stored;
    if (stored == padded) {
        memcpy(to, from, rows * stored);
        return;
    }
    for (uint32_t r = 0; r < rows; r++) {
        memcpy(to + r * padded, from + r * stored, stored);
        memset(to + r * padded + stored, 0, padded - stored);
    }
}

/* Through the upload buffer, a piece of whole rows at a time. */
static enum phy_status upload_slice(struct vk_matmul *m, const struct vk_matrix *matrix, const struct vk_slice *slice)
{
    const uint32_t most = (uint32_t)phy_min_u64(m->upload.bytes / row_bytes(matrix), slice->rows);
    for (uint32_t row = 0; row < slice->rows; row += most) {
        const uint32_t rows = slice->rows - row < most ? slice->rows - row : most;
        const VkBufferCopy copy = {.dstOffset = slice->at + row * row_bytes(matrix), .size = rows * row_bytes(matrix)};
        enum phy_status status = phy_vk_matmul_begin(m);
        if (status)
            return status;
        pad_rows(m->upload.mapped, matrix, slice->first_row + row, rows);
        m->b.vk.vkCmdCopyBuffer(m->b.slots[0].commands, m->upload.handle, m->chunks[slice->chunk].handle, 1, &copy);
        phy_vk_matmul_barrier(m, VK_PIPELINE_STAGE_TRANSFER_BIT, VK_ACCESS_TRANSFER_WRITE_BIT,
                              VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT, VK_ACCESS_SHADER_READ_BIT);
        status = phy_vk_matmul_run(m);
        if (status)
            return status;
    }
    return PHY_OK;
}

static enum phy_status copy_weights(struct vk_matmul *m)
{
    enum phy_status status = PHY_OK;
    VkDeviceSize longest_row = 0;
    for (uint32_t i = 0; i < m->matrix_count; i++)
        longest_row = row_bytes(&m->matrices[i]) > longest_row ? row_bytes(&m->matrices[i]) : longest_row;
    if (!m->unified)
        status = phy_vk_buffer_reserve(&m->b, &m->upload, VK_MEMORY_UPLOAD,
                                       longest_row > upload_bytes ? longest_row : upload_bytes);
    for (uint32_t i = 0; i < m->matrix_count && status == PHY_OK; i++) {
        struct vk_matrix *matrix = &m->matrices[i];
        for (uint32_t s = 0; s < matrix->slice_count && status == PHY_OK; s++) {
            const struct vk_slice *slice = &m->slices[matrix->first_slice + s];
            if (m->unified)
                pad_rows((char *)m->chunks[slice->chunk].mapped + slice->at, matrix, slice->first_row, slice->rows);
            else
                status = upload_slice(m, matrix, slice);
            if (status == PHY_OK && phy_cancelled(m->b.host))
                status = phy_vk_report(&m->b, PHY_ERR_INTERRUPTED, "interrupted");
        }
    }
    if (!m->unified)
        phy_vk_buffer_free(&m->b, &m->upload); /* activations reserve what they need */
    return status;
}

/* ---- the whole ---- */

static enum phy_status load(struct vk_matmul *m, struct phy_weights *const *matrices, size_t count,
                            struct vk_matmul_self_test *test)
{
    bool types[VK_TYPE_COUNT] = {false};
    for (size_t i = 0; i < count; i++)
        types[matrices[i]->type] = true;
    phy_vk_matmul_self_test_fill(test);
    enum phy_status status = list_matrices(m, matrices, count, test, types);
    if (status == PHY_OK)
        status = plan(m);
    if (status == PHY_OK)
        status = allocate_chunks(m);
    if (status == PHY_OK)
        status = create_sets(m);
    if (status == PHY_OK)
        status = copy_weights(m);
    for (size_t i = 0; i < count; i++)
        matrices[i]->index = (uint32_t)i;
    uint32_t own = (uint32_t)count;
    for (uint32_t type = 0; type < VK_TYPE_COUNT && status == PHY_OK; type++) {
        if (!types[type])
            continue;
        status = phy_vk_matmul_self_test_run(m, test, (enum phy_weight_type)type, own);
        own += 2;
    }
    return status;
}

enum phy_status phy_vk_matmul_load(struct phy_matmul_backend *backend, struct phy_weights *const *matrices,
                                   size_t count)
{
    struct vk_matmul *m = (struct vk_matmul *)backend;
    struct vk_matmul_self_test *test = phy_alloc(1, sizeof *test);
    if (!test)
        return phy_vk_report(&m->b, PHY_ERR_MEMORY, "out of memory: a self-test");
    enum phy_status status = load(m, matrices, count, test);
    for (uint32_t i = 0; i < m->matrix_count; i++)
        m->matrices[i].w = NULL;
    phy_free(test);
    return status;
}
