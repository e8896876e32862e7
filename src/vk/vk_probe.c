/* SPDX-License-Identifier: Apache-2.0 */
#include "vk/vk_probe.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/checked_math.h"
#include "base/clock.h"
#include "base/log.h"
#include "shared/roofline.h"
#include "vk/embed.h"
#include "vk/vk.h"

EMBED(phy_spirv_roofline_memory, "roofline_memory.spv");
EMBED(phy_spirv_roofline_f32, "roofline_f32.spv");
EMBED(phy_spirv_roofline_f16, "roofline_f16.spv");
EMBED(phy_spirv_roofline_i8, "roofline_i8.spv");
#if PHY_VK_MATRICES
EMBED(phy_spirv_roofline_matrix, "roofline_matrix.spv");
#endif

enum {
    UNIT_BYTES = PHY_ROOFLINE_INVOCATIONS * PHY_ROOFLINE_ITEMS * 16, /* of a workgroup */
    ARITHMETIC_WORKGROUPS = 2048,
    CPU_ARITHMETIC_WORKGROUPS = 64,
};

struct phy_vk_probe {
    struct vk_backend b; /* opened here: none of the flow's own parts */
    struct phy_vk_probe_info info;
    uint64_t clock_mask;
    VkDescriptorSetLayout set_layout;
    VkPipelineLayout layout;
    VkDescriptorPool descriptors;
    VkDescriptorSet set;
    VkPipeline pipelines[PHY_PROBE_KERNELS]; /* made when first needed */
    VkCommandPool pool;
    VkCommandBuffer commands;
    VkFence fence;
    VkQueryPool clock;
    struct vk_buffer from, to, result, readback;
    uint64_t bytes;
    uint32_t workgroups; /* of arithmetic */
};

/* ---- the device ---- */

/* With float16 arithmetic, packed dot products and cooperative matrices where it has them. */
static enum phy_status open_device(struct phy_vk_probe *p)
{
    struct vk_backend *b = &p->b;
    if (!phy_vk_find_queue_family(b, &p->info.clock_bits))
        return phy_vk_report(b, PHY_ERR_DEVICE, "device %s (%s) has no compute queue", b->base.name,
                             b->base.description);
    phy_vk_find_subgroups(b);
    phy_vk_find_matrices(b);
    p->info.matrix_m = b->matrix.m;
    p->info.matrix_n = b->matrix.n;
    p->info.matrix_k = b->matrix.k;
    /* Matrices bring it. */
    bool small = !b->matrix.m && phy_vk_has_extension(b->physical, VK_KHR_SHADER_FLOAT16_INT8_EXTENSION_NAME);
    bool dot = phy_vk_has_extension(b->physical, VK_KHR_SHADER_INTEGER_DOT_PRODUCT_EXTENSION_NAME);
    VkPhysicalDeviceShaderFloat16Int8Features small_features = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_FLOAT16_INT8_FEATURES};
    VkPhysicalDeviceShaderIntegerDotProductFeatures dot_features = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_INTEGER_DOT_PRODUCT_FEATURES};
    VkPhysicalDeviceFeatures2 features = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2};
    const char *extensions[3 + VK_MATRIX_EXTENSIONS];
    uint32_t extension_count = 0;
    if (small) {
        small_features.pNext = features.pNext;
        features.pNext = &small_features;
        extensions[extension_count++] = VK_KHR_SHADER_FLOAT16_INT8_EXTENSION_NAME;
    }
    if (dot) {
        dot_features.pNext = features.pNext;
        features.pNext = &dot_features;
        extensions[extension_count++] = VK_KHR_SHADER_INTEGER_DOT_PRODUCT_EXTENSION_NAME;
    }
    vkGetPhysicalDeviceFeatures2(b->physical, &features);
    p->info.float16 = small_features.shaderFloat16 || b->matrix.m;
    p->info.integer_dot_product = dot_features.shaderIntegerDotProduct;
    features.features = (VkPhysicalDeviceFeatures){0};
    small_features.shaderInt8 = VK_FALSE;
    const float priority = 1.0f;
    const VkDeviceQueueCreateInfo queue_info = {.sType = VK_STRUCTURE_TYPE_DEVICE_QUEUE_CREATE_INFO,
                                                .queueFamilyIndex = b->queue_family,
                                                .queueCount = 1,
                                                .pQueuePriorities = &priority};
    VkPhysicalDeviceSubgroupSizeControlFeaturesEXT subgroups = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_SIZE_CONTROL_FEATURES_EXT,
        .pNext = &features,
        .subgroupSizeControl = VK_TRUE,
        .computeFullSubgroups = VK_TRUE};
    struct vk_matrix_request matrices;
    VkDeviceCreateInfo info = {.sType = VK_STRUCTURE_TYPE_DEVICE_CREATE_INFO,
                               .pNext = &features,
                               .queueCreateInfoCount = 1,
                               .pQueueCreateInfos = &queue_info,
                               .enabledExtensionCount = extension_count,
                               .ppEnabledExtensionNames = extensions};
    if (b->matrix.m) {
        extensions[info.enabledExtensionCount++] = VK_EXT_SUBGROUP_SIZE_CONTROL_EXTENSION_NAME;
        info.pNext = &subgroups;
    }
    phy_vk_ask_matrices(b, &matrices, &info, extensions);
    VkResult result = vkCreateDevice(b->physical, &info, NULL, &b->device);
    if (result) {
        b->device = VK_NULL_HANDLE;
        return phy_vk_fail(b, result, "opening it");
    }
    volkLoadDeviceTable(&b->vk, b->device);
    b->vk.vkGetDeviceQueue(b->device, b->queue_family, 0, &b->queue);
    p->info.tick_ns = (double)b->properties.limits.timestampPeriod;
    p->clock_mask = p->info.clock_bits >= 64 ? UINT64_MAX : (UINT64_C(1) << p->info.clock_bits) - 1;
    return PHY_OK;
}

static enum phy_status open_instance(struct phy_vk_probe *p, uint32_t index, const struct phy_host *host)
{
    struct vk_backend *b = &p->b;
    char note[PHY_VK_NOTE_BYTES];
    b->host = host;
    pthread_mutex_init(&b->queue_mutex, NULL);
    pthread_mutex_init(&b->pipeline_mutex, NULL);
    snprintf(b->base.name, sizeof b->base.name, "vulkan:%u", index);
    enum phy_status status = phy_vk_instance_open(&b->instance, note, host);
    if (status)
        return note[0] ? phy_vk_report(b, status, "device %s: %s", b->base.name, note) : status;
    if (index >= b->instance.device_count)
        return phy_vk_report(b, PHY_ERR_DEVICE, "device %s: there are %u Vulkan devices", b->base.name,
                             b->instance.device_count);
    b->physical = b->instance.devices[index];
    vkGetPhysicalDeviceProperties(b->physical, &b->properties);
    vkGetPhysicalDeviceMemoryProperties(b->physical, &b->memory);
    snprintf(b->base.description, sizeof b->base.description, "%s", b->properties.deviceName);
    p->info.vendor_id = b->properties.vendorID;
    p->info.device_id = b->properties.deviceID;
    p->info.driver_version = b->properties.driverVersion;
    return PHY_OK;
}

/* What phy_vk_list says of it, which has the driver's texts cleaned. */
static enum phy_status describe(struct phy_vk_probe *p, uint32_t index, const struct phy_host *host)
{
    struct phy_device_info *devices;
    size_t count;
    char note[PHY_VK_NOTE_BYTES];
    enum phy_status status = phy_vk_list(&devices, &count, note, host);
    if (status == PHY_OK && index < count) {
        const struct phy_device_info *d = &devices[index];
        snprintf(p->info.name, sizeof p->info.name, "%s", d->name);
        snprintf(p->info.device_name, sizeof p->info.device_name, "%s", d->device_name);
        snprintf(p->info.driver, sizeof p->info.driver, "%s", d->driver);
        snprintf(p->info.api_version, sizeof p->info.api_version, "%s", d->api_version);
        snprintf(p->info.type, sizeof p->info.type, "%s", d->type);
        p->info.memory_bytes = d->memory_bytes;
    }
    phy_free(devices);
    return status;
}

/* ---- what it works with ---- */

static enum phy_status create_layouts(struct phy_vk_probe *p)
{
    struct vk_backend *b = &p->b;
    VkDescriptorSetLayoutBinding bindings[PHY_ROOFLINE_BINDINGS];
    for (uint32_t i = 0; i < PHY_ROOFLINE_BINDINGS; i++)
        bindings[i] = (VkDescriptorSetLayoutBinding){.binding = i,
                                                     .descriptorType = VK_DESCRIPTOR_TYPE_STORAGE_BUFFER,
                                                     .descriptorCount = 1,
                                                     .stageFlags = VK_SHADER_STAGE_COMPUTE_BIT};
    const VkDescriptorSetLayoutCreateInfo set_info = {.sType = VK_STRUCTURE_TYPE_DESCRIPTOR_SET_LAYOUT_CREATE_INFO,
                                                      .bindingCount = PHY_ROOFLINE_BINDINGS,
                                                      .pBindings = bindings};
    VkResult result = b->vk.vkCreateDescriptorSetLayout(b->device, &set_info, NULL, &p->set_layout);
    const VkPushConstantRange range = {.stageFlags = VK_SHADER_STAGE_COMPUTE_BIT,
                                       .size = sizeof(struct phy_roofline_push)};
    const VkPipelineLayoutCreateInfo layout_info = {.sType = VK_STRUCTURE_TYPE_PIPELINE_LAYOUT_CREATE_INFO,
                                                    .setLayoutCount = 1,
                                                    .pSetLayouts = &p->set_layout,
                                                    .pushConstantRangeCount = 1,
                                                    .pPushConstantRanges = &range};
    if (result == VK_SUCCESS)
        result = b->vk.vkCreatePipelineLayout(b->device, &layout_info, NULL, &p->layout);
    const VkDescriptorPoolSize size = {VK_DESCRIPTOR_TYPE_STORAGE_BUFFER, PHY_ROOFLINE_BINDINGS};
    const VkDescriptorPoolCreateInfo pool_info = {
        .sType = VK_STRUCTURE_TYPE_DESCRIPTOR_POOL_CREATE_INFO, .maxSets = 1, .poolSizeCount = 1, .pPoolSizes = &size};
    if (result == VK_SUCCESS)
        result = b->vk.vkCreateDescriptorPool(b->device, &pool_info, NULL, &p->descriptors);
    const VkDescriptorSetAllocateInfo allocate = {.sType = VK_STRUCTURE_TYPE_DESCRIPTOR_SET_ALLOCATE_INFO,
                                                  .descriptorPool = p->descriptors,
                                                  .descriptorSetCount = 1,
                                                  .pSetLayouts = &p->set_layout};
    if (result == VK_SUCCESS)
        result = b->vk.vkAllocateDescriptorSets(b->device, &allocate, &p->set);
    return result ? phy_vk_fail(b, result, "a descriptor set") : PHY_OK;
}

static enum phy_status create_commands(struct phy_vk_probe *p)
{
    struct vk_backend *b = &p->b;
    const VkCommandPoolCreateInfo pool_info = {.sType = VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO,
                                               .flags = VK_COMMAND_POOL_CREATE_TRANSIENT_BIT,
                                               .queueFamilyIndex = b->queue_family};
    VkResult result = b->vk.vkCreateCommandPool(b->device, &pool_info, NULL, &p->pool);
    const VkCommandBufferAllocateInfo commands_info = {
        .sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO, .commandPool = p->pool, .commandBufferCount = 1};
    if (result == VK_SUCCESS)
        result = b->vk.vkAllocateCommandBuffers(b->device, &commands_info, &p->commands);
    const VkFenceCreateInfo fence_info = {.sType = VK_STRUCTURE_TYPE_FENCE_CREATE_INFO};
    if (result == VK_SUCCESS)
        result = b->vk.vkCreateFence(b->device, &fence_info, NULL, &p->fence);
    const VkQueryPoolCreateInfo clock_info = {
        .sType = VK_STRUCTURE_TYPE_QUERY_POOL_CREATE_INFO, .queryType = VK_QUERY_TYPE_TIMESTAMP, .queryCount = 2};
    if (result == VK_SUCCESS && p->info.clock_bits && p->info.tick_ns > 0)
        result = b->vk.vkCreateQueryPool(b->device, &clock_info, NULL, &p->clock);
    return result ? phy_vk_fail(b, result, "commands") : PHY_OK;
}

static enum phy_status create_buffers(struct phy_vk_probe *p, uint64_t bytes)
{
    struct vk_backend *b = &p->b;
    uint64_t heap = 0, limit = b->properties.limits.maxStorageBufferRange;
    for (uint32_t i = 0; i < b->memory.memoryHeapCount; i++) {
        if (b->memory.memoryHeaps[i].flags & VK_MEMORY_HEAP_DEVICE_LOCAL_BIT && b->memory.memoryHeaps[i].size > heap)
            heap = b->memory.memoryHeaps[i].size;
    }
    limit = phy_min_u64(limit, heap / 8);
    limit = phy_min_u64(limit, (uint64_t)b->properties.limits.maxComputeWorkGroupCount[0] * UNIT_BYTES);
    p->bytes = phy_min_u64(bytes, limit) / UNIT_BYTES * UNIT_BYTES;
    if (p->bytes == 0)
        p->bytes = UNIT_BYTES;
    p->workgroups =
        b->properties.deviceType == VK_PHYSICAL_DEVICE_TYPE_CPU ? CPU_ARITHMETIC_WORKGROUPS : ARITHMETIC_WORKGROUPS;
    uint64_t most = p->bytes / UNIT_BYTES > p->workgroups ? p->bytes / UNIT_BYTES : p->workgroups;
    uint64_t words = most * PHY_ROOFLINE_INVOCATIONS * 4;
    enum phy_status status = phy_vk_buffer_reserve(b, &p->from, VK_MEMORY_DEVICE, p->bytes);
    if (status == PHY_OK)
        status = phy_vk_buffer_reserve(b, &p->to, VK_MEMORY_DEVICE, p->bytes);
    if (status == PHY_OK)
        status = phy_vk_buffer_reserve(b, &p->result, VK_MEMORY_DEVICE, words);
    if (status == PHY_OK)
        status = phy_vk_buffer_reserve(b, &p->readback, VK_MEMORY_READBACK, words);
    return status;
}

/* write fills `from`, copy copies it to `to`, read reads that: so one checks the others. */
static void bind_buffers(struct phy_vk_probe *p, enum phy_vk_probe_kernel kernel)
{
    bool copies = kernel == PHY_PROBE_COPY || kernel == PHY_PROBE_COPY_ROWS;
    const VkDescriptorBufferInfo buffers[PHY_ROOFLINE_BINDINGS] = {
        [PHY_ROOFLINE_BINDING_FROM] = {copies ? p->from.handle : p->to.handle, 0, VK_WHOLE_SIZE},
        [PHY_ROOFLINE_BINDING_TO] = {copies ? p->to.handle : p->from.handle, 0, VK_WHOLE_SIZE},
        [PHY_ROOFLINE_BINDING_RESULT] = {p->result.handle, 0, VK_WHOLE_SIZE},
    };
    VkWriteDescriptorSet writes_of[PHY_ROOFLINE_BINDINGS];
    for (uint32_t i = 0; i < PHY_ROOFLINE_BINDINGS; i++)
        writes_of[i] = (VkWriteDescriptorSet){.sType = VK_STRUCTURE_TYPE_WRITE_DESCRIPTOR_SET,
                                              .dstSet = p->set,
                                              .dstBinding = i,
                                              .descriptorCount = 1,
                                              .descriptorType = VK_DESCRIPTOR_TYPE_STORAGE_BUFFER,
                                              .pBufferInfo = &buffers[i]};
    p->b.vk.vkUpdateDescriptorSets(p->b.device, PHY_ROOFLINE_BINDINGS, writes_of, 0, NULL);
}

static enum phy_status pipeline(struct phy_vk_probe *p, enum phy_vk_probe_kernel kernel)
{
    if (p->pipelines[kernel])
        return PHY_OK;
    struct vk_spirv spirv = {phy_spirv_roofline_memory, (size_t)((const char *)phy_spirv_roofline_memory_end -
                                                                 (const char *)phy_spirv_roofline_memory)};
    if (kernel == PHY_PROBE_F32)
        spirv = (struct vk_spirv){phy_spirv_roofline_f32, (size_t)((const char *)phy_spirv_roofline_f32_end -
                                                                   (const char *)phy_spirv_roofline_f32)};
    else if (kernel == PHY_PROBE_F16)
        spirv = (struct vk_spirv){phy_spirv_roofline_f16, (size_t)((const char *)phy_spirv_roofline_f16_end -
                                                                   (const char *)phy_spirv_roofline_f16)};
    else if (kernel == PHY_PROBE_I8)
        spirv = (struct vk_spirv){phy_spirv_roofline_i8, (size_t)((const char *)phy_spirv_roofline_i8_end -
                                                                  (const char *)phy_spirv_roofline_i8)};
#if PHY_VK_MATRICES
    else if (kernel == PHY_PROBE_MATRIX)
        spirv = (struct vk_spirv){phy_spirv_roofline_matrix, (size_t)((const char *)phy_spirv_roofline_matrix_end -
                                                                      (const char *)phy_spirv_roofline_matrix)};
#endif
    /* Kernels come in pairs: apart, in rows. */
    const uint32_t values[PHY_ROOFLINE_SPEC_COUNT] = {
        [PHY_ROOFLINE_SPEC_MODE] = (uint32_t)kernel / 2, [PHY_ROOFLINE_SPEC_ROWS] = (uint32_t)kernel % 2,
        [PHY_ROOFLINE_SPEC_M] = p->b.matrix.m,           [PHY_ROOFLINE_SPEC_N] = p->b.matrix.n,
        [PHY_ROOFLINE_SPEC_K] = p->b.matrix.k,
    };
    VkSpecializationMapEntry entries[PHY_ROOFLINE_SPEC_COUNT];
    for (uint32_t i = 0; i < PHY_ROOFLINE_SPEC_COUNT; i++)
        entries[i] = (VkSpecializationMapEntry){.constantID = i, .offset = 4 * i, .size = 4};
    const VkSpecializationInfo constants = {
        .mapEntryCount = PHY_ROOFLINE_SPEC_COUNT, .pMapEntries = entries, .dataSize = sizeof values, .pData = values};
    VkShaderModule module;
    enum phy_status status = phy_vk_module_create(&p->b, spirv, &module);
    if (status)
        return status;
    const uint32_t subgroup = kernel == PHY_PROBE_MATRIX ? p->b.subgroup_size : 0;
    status = phy_vk_subgroup_pipeline_create(&p->b, module, p->layout, &constants, subgroup, &p->pipelines[kernel]);
    p->b.vk.vkDestroyShaderModule(p->b.device, module, NULL);
    return status;
}

/* ---- one dispatch ---- */

static void barrier(struct phy_vk_probe *p, VkPipelineStageFlags to, VkAccessFlags reads)
{
    const VkMemoryBarrier memory = {
        .sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER, .srcAccessMask = VK_ACCESS_SHADER_WRITE_BIT, .dstAccessMask = reads};
    p->b.vk.vkCmdPipelineBarrier(p->commands, VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT, to, 0, 1, &memory, 0, NULL, 0,
                                 NULL);
}

static VkResult record(struct phy_vk_probe *p, VkPipeline handle, uint32_t workgroups,
                       const struct phy_roofline_push *push, uint64_t result_bytes)
{
    struct VolkDeviceTable *vk = &p->b.vk;
    const VkCommandBufferBeginInfo begin = {.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO,
                                            .flags = VK_COMMAND_BUFFER_USAGE_ONE_TIME_SUBMIT_BIT};
    VkResult result = vk->vkResetCommandPool(p->b.device, p->pool, 0);
    if (result == VK_SUCCESS)
        result = vk->vkBeginCommandBuffer(p->commands, &begin);
    if (result)
        return result;
    if (p->clock)
        vk->vkCmdResetQueryPool(p->commands, p->clock, 0, 2);
    vk->vkCmdBindPipeline(p->commands, VK_PIPELINE_BIND_POINT_COMPUTE, handle);
    vk->vkCmdBindDescriptorSets(p->commands, VK_PIPELINE_BIND_POINT_COMPUTE, p->layout, 0, 1, &p->set, 0, NULL);
    vk->vkCmdPushConstants(p->commands, p->layout, VK_SHADER_STAGE_COMPUTE_BIT, 0, sizeof *push, push);
    if (p->clock)
        vk->vkCmdWriteTimestamp(p->commands, VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT, p->clock, 0);
    vk->vkCmdDispatch(p->commands, workgroups, 1, 1);
    if (p->clock)
        vk->vkCmdWriteTimestamp(p->commands, VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT, p->clock, 1);
    /* The next submission, and the copy, see what this one wrote. */
    barrier(p, VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT | VK_PIPELINE_STAGE_TRANSFER_BIT,
            VK_ACCESS_SHADER_READ_BIT | VK_ACCESS_SHADER_WRITE_BIT | VK_ACCESS_TRANSFER_READ_BIT);
    if (result_bytes) {
        const VkBufferCopy copy = {.size = result_bytes};
        const VkMemoryBarrier copied = {.sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER,
                                        .srcAccessMask = VK_ACCESS_TRANSFER_WRITE_BIT,
                                        .dstAccessMask = VK_ACCESS_HOST_READ_BIT};
        vk->vkCmdCopyBuffer(p->commands, p->result.handle, p->readback.handle, 1, &copy);
        vk->vkCmdPipelineBarrier(p->commands, VK_PIPELINE_STAGE_TRANSFER_BIT, VK_PIPELINE_STAGE_HOST_BIT, 0, 1, &copied,
                                 0, NULL, 0, NULL);
    }
    return vk->vkEndCommandBuffer(p->commands);
}

static VkResult submit(struct phy_vk_probe *p)
{
    const VkSubmitInfo info = {
        .sType = VK_STRUCTURE_TYPE_SUBMIT_INFO, .commandBufferCount = 1, .pCommandBuffers = &p->commands};
    VkResult result = p->b.vk.vkResetFences(p->b.device, 1, &p->fence);
    if (result == VK_SUCCESS)
        result = p->b.vk.vkQueueSubmit(p->b.queue, 1, &info, p->fence);
    return result ? result : p->b.vk.vkWaitForFences(p->b.device, 1, &p->fence, VK_TRUE, UINT64_MAX);
}

enum phy_status phy_vk_probe_run(struct phy_vk_probe *p, enum phy_vk_probe_kernel kernel, uint64_t bytes,
                                 uint32_t rounds, uint32_t one, double *ns, uint32_t *result)
{
    bool memory = kernel < PHY_PROBE_F32;
    uint32_t workgroups = memory ? (uint32_t)(phy_min_u64(bytes, p->bytes) / UNIT_BYTES) : p->workgroups;
    workgroups = workgroups ? workgroups : 1;
    uint64_t words = (uint64_t)workgroups * PHY_ROOFLINE_INVOCATIONS;
    const struct phy_roofline_push push = {.rounds = rounds, .one = one};
    enum phy_status status = pipeline(p, kernel);
    if (status)
        return status;
    bind_buffers(p, kernel);
    VkResult failed = record(p, p->pipelines[kernel], workgroups, &push, result ? words * 4 : 0);
    double start = phy_seconds_now();
    if (failed == VK_SUCCESS)
        failed = submit(p);
    *ns = 1e9 * (phy_seconds_now() - start);
    uint64_t ticks[2] = {0, 0};
    if (failed == VK_SUCCESS && p->clock)
        failed = p->b.vk.vkGetQueryPoolResults(p->b.device, p->clock, 0, 2, sizeof ticks, ticks, sizeof *ticks,
                                               VK_QUERY_RESULT_64_BIT | VK_QUERY_RESULT_WAIT_BIT);
    if (failed)
        return phy_vk_fail(&p->b, failed, "a submission");
    /* The difference of a clock of few bits is right through one wrap. */
    uint64_t passed = (ticks[1] - ticks[0]) & p->clock_mask;
    if (p->clock && passed)
        *ns = (double)passed * p->info.tick_ns;
    if (result) {
        const uint32_t *from = p->readback.mapped;
        *result = 0;
        for (uint64_t i = 0; i < words; i++)
            *result += from[i];
    }
    return PHY_OK;
}

/* ---- opening and closing ---- */

void phy_vk_probe_close(struct phy_vk_probe **probe)
{
    struct phy_vk_probe *p = *probe;
    *probe = NULL;
    if (!p)
        return;
    struct vk_backend *b = &p->b;
    if (b->device) {
        b->vk.vkDeviceWaitIdle(b->device);
        for (int i = 0; i < PHY_PROBE_KERNELS; i++)
            b->vk.vkDestroyPipeline(b->device, p->pipelines[i], NULL);
        b->vk.vkDestroyQueryPool(b->device, p->clock, NULL);
        b->vk.vkDestroyFence(b->device, p->fence, NULL);
        b->vk.vkDestroyCommandPool(b->device, p->pool, NULL);
        b->vk.vkDestroyDescriptorPool(b->device, p->descriptors, NULL);
        b->vk.vkDestroyPipelineLayout(b->device, p->layout, NULL);
        b->vk.vkDestroyDescriptorSetLayout(b->device, p->set_layout, NULL);
        phy_vk_buffer_free(b, &p->from);
        phy_vk_buffer_free(b, &p->to);
        phy_vk_buffer_free(b, &p->result);
        phy_vk_buffer_free(b, &p->readback);
        b->vk.vkDestroyDevice(b->device, NULL);
    }
    phy_vk_instance_close(&b->instance);
    pthread_mutex_destroy(&b->queue_mutex);
    pthread_mutex_destroy(&b->pipeline_mutex);
    phy_free(p);
}

enum phy_status phy_vk_probe_open(struct phy_vk_probe **out, uint32_t index, uint64_t bytes,
                                  const struct phy_host *host)
{
    *out = NULL;
    struct phy_vk_probe *p = phy_zalloc(1, sizeof *p);
    if (!p)
        return phy_fail_memory(host, "a device", sizeof *p);
    enum phy_status status = open_instance(p, index, host);
    if (status == PHY_OK)
        status = describe(p, index, host);
    if (status == PHY_OK)
        status = open_device(p);
    if (status == PHY_OK)
        status = create_layouts(p);
    if (status == PHY_OK)
        status = create_commands(p);
    if (status == PHY_OK)
        status = create_buffers(p, bytes);
    if (status) {
        phy_vk_probe_close(&p);
        return status;
    }
    *out = p;
    return PHY_OK;
}

const struct phy_vk_probe_info *phy_vk_probe_describe(const struct phy_vk_probe *probe)
{
    return &probe->info;
}

uint64_t phy_vk_probe_bytes(const struct phy_vk_probe *probe)
{
    return probe->bytes;
}

uint64_t phy_vk_probe_unit_bytes(void)
{
    return UNIT_BYTES;
}

bool phy_vk_probe_offers(const struct phy_vk_probe *probe, enum phy_vk_probe_kernel kernel)
{
    return kernel == PHY_PROBE_F16      ? probe->info.float16
           : kernel == PHY_PROBE_I8     ? probe->info.integer_dot_product
           : kernel == PHY_PROBE_MATRIX ? probe->info.matrix_m > 0
                                        : true;
}

uint32_t phy_vk_probe_invocations(const struct phy_vk_probe *probe)
{
    return probe->workgroups * PHY_ROOFLINE_INVOCATIONS;
}

uint32_t phy_vk_probe_products(const struct phy_vk_probe *probe, enum phy_vk_probe_kernel kernel)
{
    const struct vk_matrix_shape *shape = &probe->b.matrix;
    if (kernel == PHY_PROBE_MATRIX)
        return shape->m ? shape->m * shape->n * shape->k / probe->b.subgroup_size * PHY_ROOFLINE_CHAINS : 0;
    return kernel < PHY_PROBE_F32 ? 0 : (kernel == PHY_PROBE_I8 ? 4 : 1) * 4 * PHY_ROOFLINE_CHAINS;
}
