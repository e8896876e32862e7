/* SPDX-License-Identifier: Apache-2.0 */
/* Weights onto the device, a call's matrices at a time. A matrix is cut into slices of whole rows that a binding
 * reaches; slices lie one after another in chunks of device memory, rows as vk_matmul_layout.c lays them. */
#include <string.h>

#include "base/alloc.h"
#include "base/checked_math.h"
#include "base/log.h"
#include "vk/vk_matmul_parts.h"

enum { WORD_BYTES = 16 };
/* Of slices in a chunk: the most that Vulkan lets a device ask for (minStorageBufferOffsetAlignment). */
static const VkDeviceSize slice_align = 256;
/* A chunk holds several slices of common size; on a device of separate memory, what one copy moves. */
static const VkDeviceSize usual_chunk = (VkDeviceSize)VK_CHUNK_WORDS * 4, upload_bytes = (VkDeviceSize)16 << 20;
/* The most of a bitmap in one slice: it is uploaded as a whole. */
static const VkDeviceSize bitmap_bytes = (VkDeviceSize)64 << 20;

/* What the device held before a call: to go back to when it fails. */
struct mark {
    uint32_t matrices, slices, chunks, pools;
    VkDeviceSize bytes;
};

static VkDeviceSize row_bytes(const struct vk_matrix *matrix)
{
    return (VkDeviceSize)matrix->row_words * WORD_BYTES;
}

/* ---- the plan ---- */

/* The caller's, then those of the self-test of each type in `types`. */
static enum phy_status list_matrices(struct vk_matmul *m, struct phy_weights *const *matrices, size_t count,
                                     const struct vk_matmul_self_test *test, const bool types[PHY_WEIGHT_BITMAP_END])
{
    struct vk_matrix *grown = NULL;
    if (count < UINT32_MAX / 2 - m->matrix_count)
        grown = phy_realloc(m->matrices, m->matrix_count + count + VK_SELF_TEST_MATRICES, sizeof *grown);
    if (!grown)
        return phy_vk_report(&m->b, PHY_ERR_MEMORY, "out of memory: a list of %zu matrices", count);
    m->matrices = grown;
    for (size_t i = 0; i < count + VK_SELF_TEST_MATRICES; i++) {
        const struct phy_weights *w = i < count ? matrices[i] : &test->matrices[i - count];
        if (i >= count && !types[w->type])
            continue;
        if (w->rows > INT32_MAX || w->cols > INT32_MAX)
            return phy_vk_report(&m->b, PHY_ERR_LIMIT, "device %s: a matrix of %zu x %zu is too large", m->b.base.name,
                                 w->rows, w->cols);
        const uint32_t cols = (uint32_t)w->cols;
        m->matrices[m->matrix_count++] = (struct vk_matrix){
            .w = w,
            .type = w->type,
            .rows = (uint32_t)w->rows,
            .cols = cols,
            .row_words = phy_weight_is_bitmap(w->type) ? 0 : phy_vk_row_words(w->type, cols),
            .blocks = (cols + PHY_UNIT_COLS - 1) / PHY_UNIT_COLS,
        };
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

static enum phy_status add_chunk(struct vk_matmul *m)
{
    struct vk_chunk *grown = phy_realloc(m->chunks, (size_t)m->chunk_count + 1, sizeof *grown);
    if (!grown)
        return phy_vk_report(&m->b, PHY_ERR_MEMORY, "out of memory: a list of weights");
    m->chunks = grown;
    m->chunks[m->chunk_count++] = (struct vk_chunk){0};
    return PHY_OK;
}

/* The next slice of a matrix, of at most `limit` bytes; none if a row has more. */
static void next_slice(const struct vk_matrix *matrix, VkDeviceSize limit, struct vk_slice *slice)
{
    if (phy_weight_is_bitmap(matrix->type)) {
        phy_vk_bitmap_slice(matrix, phy_min_u64(limit, bitmap_bytes), slice);
        return;
    }
    slice->rows = (uint32_t)phy_min_u64(limit / row_bytes(matrix), matrix->rows - slice->first_row);
    slice->bytes = slice->rows * row_bytes(matrix);
}

/* Slices of every new matrix, and the sizes of the chunks that hold them. */
static enum phy_status plan(struct vk_matmul *m, uint32_t first_matrix)
{
    const VkDeviceSize chunk = chunk_limit(m);
    VkDeviceSize limit = phy_min_u64(m->b.properties.limits.maxStorageBufferRange, chunk), at = chunk;
    if (m->options.max_slice_bytes)
        limit = phy_min_u64(limit, m->options.max_slice_bytes);
    for (uint32_t i = first_matrix; i < m->matrix_count; i++) {
        struct vk_matrix *matrix = &m->matrices[i];
        matrix->first_slice = m->slice_count;
        for (uint32_t row = 0; row < matrix->rows;) {
            struct vk_slice slice = {.first_row = row};
            next_slice(matrix, limit, &slice);
            if (slice.rows == 0)
                return phy_vk_report(&m->b, PHY_ERR_LIMIT, "device %s (%s): a row of %u weights exceeds a binding",
                                     m->b.base.name, m->b.base.description, matrix->cols);
            row += slice.rows;
            at = (at + slice_align - 1) / slice_align * slice_align;
            enum phy_status status = PHY_OK;
            if (at + slice.bytes > chunk) {
                status = add_chunk(m);
                at = 0;
            }
            slice.chunk = m->chunk_count - 1;
            slice.at = at;
            at += slice.bytes;
            if (status == PHY_OK)
                status = add_slice(m, &slice);
            if (status)
                return status;
            m->chunks[slice.chunk].bytes = at;
        }
        matrix->slice_count = m->slice_count - matrix->first_slice;
    }
    return PHY_OK;
}

static enum phy_status allocate_chunks(struct vk_matmul *m, uint32_t first)
{
    VkDeviceSize total = m->weight_bytes, have = device_memory(m);
    for (uint32_t i = first; i < m->chunk_count; i++)
        total += m->chunks[i].bytes;
    if (total > have)
        return phy_vk_report(&m->b, PHY_ERR_MEMORY,
                             "out of memory: the model's weights take %.2f GB, device %s (%s) has %.2f GB",
                             (double)total / 1e9, m->b.base.name, m->b.base.description, (double)have / 1e9);
    for (uint32_t i = first; i < m->chunk_count; i++) {
        struct vk_chunk *chunk = &m->chunks[i];
        enum phy_status status = phy_vk_buffer_reserve(
            &m->b, &chunk->buffer, m->unified ? VK_MEMORY_DEVICE_MAPPED : VK_MEMORY_DEVICE, chunk->bytes);
        if (status)
            return status;
    }
    m->weight_bytes = total;
    return PHY_OK;
}

enum phy_status phy_vk_matmul_add_pool(struct vk_matmul *m, uint32_t sets)
{
    const VkDescriptorPoolSize sizes[] = {{VK_DESCRIPTOR_TYPE_STORAGE_BUFFER, PHY_MATMUL_BINDINGS * sets},
                                          {VK_DESCRIPTOR_TYPE_UNIFORM_TEXEL_BUFFER, PHY_MATMUL_TEXELS * sets}};
    const VkDescriptorPoolCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_DESCRIPTOR_POOL_CREATE_INFO,
        .maxSets = sets,
        .poolSizeCount = m->texels ? 2 : 1,
        .pPoolSizes = sizes,
    };
    VkDescriptorPool *grown = phy_realloc(m->pools, (size_t)m->pool_count + 1, sizeof *grown);
    if (!grown)
        return phy_vk_report(&m->b, PHY_ERR_MEMORY, "out of memory: a list of descriptor pools");
    m->pools = grown;
    VkResult result = m->b.vk.vkCreateDescriptorPool(m->b.device, &info, NULL, &m->pools[m->pool_count]);
    if (result)
        return phy_vk_fail(&m->b, result, "a descriptor pool");
    m->pool_count++;
    return PHY_OK;
}

enum phy_status phy_vk_matmul_new_set(struct vk_matmul *m, VkDescriptorSet *out)
{
    const VkDescriptorSetAllocateInfo info = {.sType = VK_STRUCTURE_TYPE_DESCRIPTOR_SET_ALLOCATE_INFO,
                                              .descriptorPool = m->pools[m->pool_count - 1],
                                              .descriptorSetCount = 1,
                                              .pSetLayouts = &m->set_layout};
    VkResult result = m->b.vk.vkAllocateDescriptorSets(m->b.device, &info, out);
    return result ? phy_vk_fail(&m->b, result, "descriptor sets") : PHY_OK;
}

/* A slice as texels. Its place is a multiple of whatever a device asks for. */
static enum phy_status bind_texels(struct vk_matmul *m, struct vk_slice *slice)
{
    static const VkFormat words[PHY_MATMUL_TEXELS] = {VK_FORMAT_R32G32B32A32_UINT, VK_FORMAT_R32G32_UINT,
                                                      VK_FORMAT_R32_UINT};
    VkWriteDescriptorSet writes[PHY_MATMUL_TEXELS];
    for (uint32_t i = 0; i < PHY_MATMUL_TEXELS; i++) {
        const VkBufferViewCreateInfo info = {.sType = VK_STRUCTURE_TYPE_BUFFER_VIEW_CREATE_INFO,
                                             .buffer = m->chunks[slice->chunk].buffer.handle,
                                             .format = words[i],
                                             .offset = slice->at,
                                             .range = slice->bytes};
        VkResult result = m->b.vk.vkCreateBufferView(m->b.device, &info, NULL, &slice->texels[i]);
        if (result)
            return phy_vk_fail(&m->b, result, "a view of weights");
        writes[i] = (VkWriteDescriptorSet){.sType = VK_STRUCTURE_TYPE_WRITE_DESCRIPTOR_SET,
                                           .dstSet = slice->set,
                                           .dstBinding = PHY_MATMUL_BINDING_TEXELS + i,
                                           .descriptorCount = 1,
                                           .descriptorType = VK_DESCRIPTOR_TYPE_UNIFORM_TEXEL_BUFFER,
                                           .pTexelBufferView = &slice->texels[i]};
    }
    m->b.vk.vkUpdateDescriptorSets(m->b.device, PHY_MATMUL_TEXELS, writes, 0, NULL);
    return PHY_OK;
}

static enum phy_status create_sets(struct vk_matmul *m, uint32_t first)
{
    struct vk_backend *b = &m->b;
    enum phy_status status = phy_vk_matmul_add_pool(m, m->slice_count - first);
    for (uint32_t i = first; i < m->slice_count && status == PHY_OK; i++) {
        struct vk_slice *slice = &m->slices[i];
        status = phy_vk_matmul_new_set(m, &slice->set);
        if (status == PHY_OK && m->texels)
            status = bind_texels(m, slice);
        if (status)
            break;
        const VkDescriptorBufferInfo w = {m->chunks[slice->chunk].buffer.handle, slice->at, slice->bytes};
        const VkWriteDescriptorSet write = {.sType = VK_STRUCTURE_TYPE_WRITE_DESCRIPTOR_SET,
                                            .dstSet = slice->set,
                                            .dstBinding = PHY_MATMUL_BINDING_W,
                                            .descriptorCount = 1,
                                            .descriptorType = VK_DESCRIPTOR_TYPE_STORAGE_BUFFER,
                                            .pBufferInfo = &w};
        b->vk.vkUpdateDescriptorSets(b->device, 1, &write, 0, NULL);
        phy_vk_matmul_bind(m, slice->set);
    }
    return status;
}

/* ---- the copy ---- */

static enum phy_status lay_rows(struct vk_matmul *m, char *to, const struct vk_matrix *matrix, uint32_t first,
                                uint32_t rows)
{
    size_t stored;
    if (!phy_weight_row_bytes(matrix->type, matrix->cols, &stored))
        return phy_vk_report(&m->b, PHY_ERR_LIMIT, "device %s: a row is too large", m->b.base.name);
    const char *from = (const char *)matrix->w->data + first * stored;
    if (matrix->type < PHY_WEIGHT_FLOAT_COUNT && stored == row_bytes(matrix)) {
        memcpy(to, from, rows * stored);
        return PHY_OK;
    }
    for (uint32_t r = 0; r < rows; r++)
        phy_vk_lay_row(matrix->type, from + r * stored, matrix->cols, to + r * row_bytes(matrix));
    return PHY_OK;
}

/* Through the upload buffer, a piece of whole rows at a time; a slice of a bitmap is one piece. */
static enum phy_status upload_slice(struct vk_matmul *m, const struct vk_matrix *matrix, const struct vk_slice *slice)
{
    const bool bitmap = phy_weight_is_bitmap(matrix->type);
    const uint32_t most =
        bitmap ? slice->rows : (uint32_t)phy_min_u64(m->upload.bytes / row_bytes(matrix), slice->rows);
    for (uint32_t row = 0; row < slice->rows; row += most) {
        const uint32_t rows = slice->rows - row < most ? slice->rows - row : most;
        const VkBufferCopy copy = {.dstOffset = slice->at + row * row_bytes(matrix),
                                   .size = bitmap ? slice->bytes : rows * row_bytes(matrix)};
        enum phy_status status = phy_vk_matmul_begin(m);
        if (status)
            return status;
        if (bitmap)
            phy_vk_bitmap_lay(matrix, slice, m->upload.mapped);
        else
            status = lay_rows(m, m->upload.mapped, matrix, slice->first_row + row, rows);
        if (status)
            return status;
        m->b.vk.vkCmdCopyBuffer(m->b.slots[0].commands, m->upload.handle, m->chunks[slice->chunk].buffer.handle, 1,
                                &copy);
        phy_vk_matmul_barrier(m, VK_PIPELINE_STAGE_TRANSFER_BIT, VK_ACCESS_TRANSFER_WRITE_BIT,
                              VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT, VK_ACCESS_SHADER_READ_BIT);
        status = phy_vk_matmul_run(m);
        if (status)
            return status;
    }
    return PHY_OK;
}

static enum phy_status copy_weights(struct vk_matmul *m, uint32_t first)
{
    enum phy_status status = PHY_OK;
    VkDeviceSize most = upload_bytes;
    for (uint32_t i = first; i < m->matrix_count; i++) {
        const struct vk_matrix *matrix = &m->matrices[i];
        const bool bitmap = phy_weight_is_bitmap(matrix->type);
        for (uint32_t s = 0; s < matrix->slice_count; s++) {
            const VkDeviceSize piece = bitmap ? m->slices[matrix->first_slice + s].bytes : row_bytes(matrix);
            most = piece > most ? piece : most;
        }
    }
    if (!m->unified)
        status = phy_vk_buffer_reserve(&m->b, &m->upload, VK_MEMORY_UPLOAD, most);
    for (uint32_t i = first; i < m->matrix_count && status == PHY_OK; i++) {
        struct vk_matrix *matrix = &m->matrices[i];
        for (uint32_t s = 0; s < matrix->slice_count && status == PHY_OK; s++) {
            const struct vk_slice *slice = &m->slices[matrix->first_slice + s];
            char *to = (char *)m->chunks[slice->chunk].buffer.mapped + slice->at;
            if (!m->unified)
                status = upload_slice(m, matrix, slice);
            else if (phy_weight_is_bitmap(matrix->type))
                phy_vk_bitmap_lay(matrix, slice, to);
            else
                status = lay_rows(m, to, matrix, slice->first_row, slice->rows);
            if (status == PHY_OK && phy_cancelled(m->b.host))
                status = phy_vk_report(&m->b, PHY_ERR_INTERRUPTED, "interrupted");
        }
    }
    return status;
}

/* ---- the whole ---- */

static enum phy_status load(struct vk_matmul *m, struct phy_weights *const *matrices, size_t count,
                            const struct mark *mark, struct vk_matmul_self_test *test)
{
    bool types[PHY_WEIGHT_BITMAP_END] = {false};
    for (size_t i = 0; i < count; i++)
        types[matrices[i]->type] = !m->tested[matrices[i]->type];
    phy_vk_matmul_self_test_fill(test);
    enum phy_status status = list_matrices(m, matrices, count, test, types);
    if (status == PHY_OK)
        status = plan(m, mark->matrices);
    if (status == PHY_OK)
        status = allocate_chunks(m, mark->chunks);
    if (status == PHY_OK)
        status = create_sets(m, mark->slices);
    if (status == PHY_OK)
        status = copy_weights(m, mark->matrices);
    uint32_t own = mark->matrices + (uint32_t)count;
    for (int type = 0; type < PHY_WEIGHT_BITMAP_END && status == PHY_OK; type++) {
        if (!types[type])
            continue;
        status = phy_vk_matmul_self_test_run(m, test, (enum phy_weight_type)type, own);
        own += 2;
    }
    for (int type = 0; type < PHY_WEIGHT_BITMAP_END && status == PHY_OK; type++)
        m->tested[type] |= types[type];
    return status;
}

/* Nothing that is taken back is in use: every submission was waited for. */
static void go_back(struct vk_matmul *m, const struct mark *mark)
{
    while (m->pool_count > mark->pools)
        m->b.vk.vkDestroyDescriptorPool(m->b.device, m->pools[--m->pool_count], NULL);
    while (m->slice_count > mark->slices) {
        const struct vk_slice *slice = &m->slices[--m->slice_count];
        for (uint32_t i = 0; i < PHY_MATMUL_TEXELS; i++)
            m->b.vk.vkDestroyBufferView(m->b.device, slice->texels[i], NULL);
    }
    while (m->chunk_count > mark->chunks)
        phy_vk_buffer_free(&m->b, &m->chunks[--m->chunk_count].buffer);
    m->matrix_count = mark->matrices;
    m->weight_bytes = mark->bytes;
}

enum phy_status phy_vk_matmul_load(struct phy_matmul_backend *backend, struct phy_weights *const *matrices,
                                   size_t count)
{
    struct vk_matmul *m = (struct vk_matmul *)backend;
    const struct mark mark = {m->matrix_count, m->slice_count, m->chunk_count, m->pool_count, m->weight_bytes};
    if (count == 0)
        return PHY_OK;
    struct vk_matmul_self_test *test = phy_alloc(1, sizeof *test);
    if (!test)
        return phy_vk_report(&m->b, PHY_ERR_MEMORY, "out of memory: a self-test");
    m->quiet = true;
    enum phy_status status = load(m, matrices, count, &mark, test);
    m->quiet = false;
    if (status)
        go_back(m, &mark);
    for (uint32_t i = mark.matrices; i < m->matrix_count; i++)
        m->matrices[i].w = NULL;
    for (size_t i = 0; i < count && status == PHY_OK; i++)
        matrices[i]->index = mark.matrices + (uint32_t)i;
    phy_free(test);
    return status;
}

void phy_vk_matmul_unload(struct phy_matmul_backend *backend)
{
    go_back((struct vk_matmul *)backend, &(struct mark){.pools = 1}); /* the first is the device's own */
}
