/* SPDX-License-Identifier: Apache-2.0 */
/* Opening and closing a device. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/checked_math.h"
#include "base/log.h"
#include "vk/vk.h"

enum phy_status phy_vk_report(const struct vk_backend *b, enum phy_status status, const char *format, ...)
{
    char line[PHY_LOG_LINE_BYTES];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    if (!b->warn_only)
        return phy_fail(b->host, status, "%s", line);
    phy_warn(b->host, "%s", line);
    return status;
}

enum phy_status phy_vk_fail(struct vk_backend *b, VkResult result, const char *what)
{
    if (result == VK_ERROR_OUT_OF_HOST_MEMORY || result == VK_ERROR_OUT_OF_DEVICE_MEMORY ||
        result == VK_ERROR_OUT_OF_POOL_MEMORY || result == VK_ERROR_FRAGMENTED_POOL)
        return phy_vk_report(b, PHY_ERR_MEMORY, "out of memory: %s on device %s", what, b->base.name);
    atomic_store(&b->lost, true);
    if (result == VK_ERROR_DEVICE_LOST)
        return phy_vk_report(b, PHY_ERR_DEVICE, "device %s (%s) was lost", b->base.name, b->base.description);
    return phy_vk_report(b, PHY_ERR_DEVICE, "device %s (%s): %s: Vulkan error %d", b->base.name, b->base.description,
                         what, (int)result);
}

void phy_vk_device_close(struct vk_backend *b)
{
    if (b->device) {
        b->vk.vkDeviceWaitIdle(b->device);
        for (uint32_t i = 0; i < VK_SLOT_COUNT; i++)
            phy_vk_slot_destroy(b, &b->slots[i]);
        for (uint32_t i = 0; i < VK_FLOW_PIPELINES; i++)
            b->vk.vkDestroyPipeline(b->device, b->flow_pipelines[i], NULL);
        for (uint32_t i = 0; i < VK_RANK_PIPELINES; i++)
            b->vk.vkDestroyPipeline(b->device, b->rank_pipelines[i], NULL);
        b->vk.vkDestroyShaderModule(b->device, b->flow_module, NULL);
        b->vk.vkDestroyShaderModule(b->device, b->rank_module, NULL);
        b->vk.vkDestroyDescriptorPool(b->device, b->descriptor_pool, NULL);
        b->vk.vkDestroyPipelineLayout(b->device, b->pipeline_layout, NULL);
        b->vk.vkDestroyDescriptorSetLayout(b->device, b->set_layout, NULL);
        b->vk.vkDestroyDevice(b->device, NULL);
    }
    phy_vk_instance_close(&b->instance);
    pthread_mutex_destroy(&b->queue_mutex);
    pthread_mutex_destroy(&b->pipeline_mutex);
}

static void destroy(struct phy_backend *backend)
{
    struct vk_backend *b = (struct vk_backend *)backend;
    phy_vk_device_close(b);
    phy_free(b);
}

static const struct phy_backend_ops ops = {.flow = phy_vk_flow, .rank = phy_vk_rank, .destroy = destroy};

bool phy_vk_find_queue_family(struct vk_backend *b, uint32_t *clock_bits)
{
    VkQueueFamilyProperties families[32];
    uint32_t count = 32;
    vkGetPhysicalDeviceQueueFamilyProperties(b->physical, &count, families);
    for (uint32_t graphics = 0; graphics < 2; graphics++) {
        for (uint32_t i = 0; i < count; i++) {
            VkQueueFlags flags = families[i].queueFlags;
            if ((flags & VK_QUEUE_COMPUTE_BIT) && (graphics || !(flags & VK_QUEUE_GRAPHICS_BIT))) {
                b->queue_family = i;
                *clock_bits = families[i].timestampValidBits;
                return true;
            }
        }
    }
    return false;
}

void phy_vk_find_integer_dot(struct vk_backend *b)
{
    VkPhysicalDeviceShaderIntegerDotProductFeaturesKHR feature = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_INTEGER_DOT_PRODUCT_FEATURES_KHR};
    VkPhysicalDeviceFeatures2 features = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2, .pNext = &feature};
    VkPhysicalDeviceShaderIntegerDotProductPropertiesKHR property = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_INTEGER_DOT_PRODUCT_PROPERTIES_KHR};
    VkPhysicalDeviceProperties2 properties = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2,
                                              .pNext = &property};
    if (!phy_vk_has_extension(b->physical, VK_KHR_SHADER_INTEGER_DOT_PRODUCT_EXTENSION_NAME))
        return;
    vkGetPhysicalDeviceFeatures2(b->physical, &features);
    vkGetPhysicalDeviceProperties2(b->physical, &properties);
    b->integer_dot = feature.shaderIntegerDotProduct;
    b->fast_integer_dot = b->integer_dot && property.integerDotProduct4x8BitPackedSignedAccelerated;
}

static void find_vectors(struct vk_backend *b)
{
    VkPhysicalDeviceSubgroupProperties subgroup = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_PROPERTIES};
    VkPhysicalDeviceProperties2 properties = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2,
                                              .pNext = &subgroup};
    vkGetPhysicalDeviceProperties2(b->physical, &properties);
    b->narrow = properties.properties.deviceType == VK_PHYSICAL_DEVICE_TYPE_CPU && subgroup.subgroupSize == 4;
    /* By name: what loads cost, and that lanes are neighbours in order, is llvmpipe's, no device's promise. */
    b->texels = strncmp(properties.properties.deviceName, "llvmpipe", strlen("llvmpipe")) == 0 &&
                properties.properties.limits.maxTexelBufferElements >= VK_CHUNK_WORDS;
    b->eights = b->texels && subgroup.subgroupSize == 8 && (subgroup.supportedStages & VK_SHADER_STAGE_COMPUTE_BIT) &&
                (subgroup.supportedOperations & VK_SUBGROUP_FEATURE_SHUFFLE_BIT);
}

void phy_vk_find_subgroups(struct vk_backend *b)
{
    VkPhysicalDeviceSubgroupSizeControlFeaturesEXT feature = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_SIZE_CONTROL_FEATURES_EXT};
    VkPhysicalDeviceFeatures2 features = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2, .pNext = &feature};
    VkPhysicalDeviceSubgroupSizeControlPropertiesEXT control = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_SIZE_CONTROL_PROPERTIES_EXT};
    VkPhysicalDeviceSubgroupProperties subgroup = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_PROPERTIES,
                                                   .pNext = &control};
    VkPhysicalDeviceProperties2 properties = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2,
                                              .pNext = &subgroup};
    if (!phy_vk_has_extension(b->physical, VK_EXT_SUBGROUP_SIZE_CONTROL_EXTENSION_NAME))
        return;
    vkGetPhysicalDeviceFeatures2(b->physical, &features);
    vkGetPhysicalDeviceProperties2(b->physical, &properties);
    if (feature.subgroupSizeControl && feature.computeFullSubgroups &&
        (control.requiredSubgroupSizeStages & VK_SHADER_STAGE_COMPUTE_BIT) &&
        (subgroup.supportedStages & VK_SHADER_STAGE_COMPUTE_BIT) &&
        (subgroup.supportedOperations & VK_SUBGROUP_FEATURE_ARITHMETIC_BIT) && subgroup.subgroupSize >= 4 &&
        subgroup.subgroupSize <= 128)
        b->subgroup_size = subgroup.subgroupSize;
}

static enum phy_status open_queue(struct vk_backend *b)
{
    uint32_t clock_bits = 0;
    if (!phy_vk_find_queue_family(b, &clock_bits))
        return phy_vk_report(b, PHY_ERR_DEVICE, "device %s (%s) has no compute queue", b->base.name,
                             b->base.description);
    const float priority = 1.0f;
    const VkDeviceQueueCreateInfo queue_info = {.sType = VK_STRUCTURE_TYPE_DEVICE_QUEUE_CREATE_INFO,
                                                .queueFamilyIndex = b->queue_family,
                                                .queueCount = 1,
                                                .pQueuePriorities = &priority};
    phy_vk_find_integer_dot(b);
    phy_vk_find_subgroups(b);
    find_vectors(b);
    phy_vk_find_matrices(b);
    VkPhysicalDeviceShaderIntegerDotProductFeaturesKHR dot = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_INTEGER_DOT_PRODUCT_FEATURES_KHR,
        .shaderIntegerDotProduct = VK_TRUE};
    VkPhysicalDeviceSubgroupSizeControlFeaturesEXT subgroups = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_SIZE_CONTROL_FEATURES_EXT,
        .subgroupSizeControl = VK_TRUE,
        .computeFullSubgroups = VK_TRUE};
    const char *names[2 + VK_MATRIX_EXTENSIONS];
    VkDeviceCreateInfo info = {.sType = VK_STRUCTURE_TYPE_DEVICE_CREATE_INFO,
                               .queueCreateInfoCount = 1,
                               .pQueueCreateInfos = &queue_info,
                               .ppEnabledExtensionNames = names};
    if (b->integer_dot) {
        names[info.enabledExtensionCount++] = VK_KHR_SHADER_INTEGER_DOT_PRODUCT_EXTENSION_NAME;
        info.pNext = &dot;
    }
    if (b->subgroup_size) {
        names[info.enabledExtensionCount++] = VK_EXT_SUBGROUP_SIZE_CONTROL_EXTENSION_NAME;
        subgroups.pNext = (void *)info.pNext;
        info.pNext = &subgroups;
    }
    struct vk_matrix_request matrices;
    phy_vk_ask_matrices(b, &matrices, &info, names);
    VkResult result = vkCreateDevice(b->physical, &info, NULL, &b->device);
    if (result) {
        b->device = VK_NULL_HANDLE;
        return phy_vk_fail(b, result, "opening it");
    }
    volkLoadDeviceTable(&b->vk, b->device);
    b->vk.vkGetDeviceQueue(b->device, b->queue_family, 0, &b->queue);
    b->clock_mask = clock_bits >= 64 ? UINT64_MAX : (UINT64_C(1) << clock_bits) - 1;
    b->tick_ns = clock_bits ? (double)b->properties.limits.timestampPeriod : 0.0;
    return PHY_OK;
}

/* What a piece may hold: of a quarter of the device's memory its slot's share, and one binding. 64 MiB feed any device.
 */
static void set_limits(struct vk_backend *b)
{
    uint64_t heap = 0;
    for (uint32_t i = 0; i < b->memory.memoryHeapCount; i++) {
        if (b->memory.memoryHeaps[i].flags & VK_MEMORY_HEAP_DEVICE_LOCAL_BIT && b->memory.memoryHeaps[i].size > heap)
            heap = b->memory.memoryHeaps[i].size;
    }
    b->max_input_bytes = phy_min_u64(b->properties.limits.maxStorageBufferRange, UINT64_C(64) << 20);
    b->max_input_bytes = phy_min_u64(b->max_input_bytes, heap / (4 * VK_SLOT_COUNT));
    bool cpu = b->properties.deviceType == VK_PHYSICAL_DEVICE_TYPE_CPU;
    b->base.slot_count = cpu ? 2 : VK_SLOT_COUNT;
    b->base.region_weights = cpu ? 1 << 20 : 16 << 20;
    atomic_store(&b->cell_steps_per_dispatch, VK_FIRST_CELL_STEPS);
    atomic_store(&b->rank_cells_per_dispatch, VK_FIRST_RANK_CELLS);
}

enum phy_status phy_vk_device_open(struct vk_backend *b, uint32_t index, const struct phy_vk_options *options,
                                   const struct phy_host *host)
{
    b->host = host;
    pthread_mutex_init(&b->queue_mutex, NULL);
    pthread_mutex_init(&b->pipeline_mutex, NULL);
    snprintf(b->base.name, sizeof b->base.name, "vulkan:%u", index);
    char note[PHY_VK_NOTE_BYTES];
    enum phy_status status = phy_vk_instance_open(&b->instance, note, b->host);
    if (status)
        return note[0] ? phy_vk_report(b, status, "device %s: %s", b->base.name, note) : status;
    if (index >= b->instance.device_count)
        return phy_vk_report(b, PHY_ERR_DEVICE, "device %s: there are %u Vulkan devices; physarium devices lists them",
                             b->base.name, b->instance.device_count);
    b->physical = b->instance.devices[index];
    vkGetPhysicalDeviceProperties(b->physical, &b->properties);
    vkGetPhysicalDeviceMemoryProperties(b->physical, &b->memory);
    snprintf(b->base.description, sizeof b->base.description, "%s", b->properties.deviceName);
    for (uint32_t i = 0; i < VK_BLOCK_COUNT; i++) {
        b->shapes[i] = phy_vk_shape_for(&b->properties, 32u << i, options->shape);
        if (!b->shapes[i] && options->shape)
            return phy_vk_report(b, PHY_ERR_USAGE, "device %s: cannot run the shader's shape \"%.32s\"", b->base.name,
                                 options->shape);
        if (!b->shapes[i])
            return phy_vk_report(b, PHY_ERR_DEVICE, "device %s (%s) is below the limits that Vulkan promises",
                                 b->base.name, b->base.description);
    }
    b->staging = options->staging || !phy_vk_host_writes_device_memory(&b->memory);
    b->max_piece_weights = options->max_piece_weights;
    set_limits(b);
    status = open_queue(b);
    if (status == PHY_OK)
        status = phy_vk_layouts_create(b);
    for (uint32_t i = 0; i < VK_SLOT_COUNT && status == PHY_OK; i++)
        status = phy_vk_slot_create(b, &b->slots[i]);
    return status;
}

enum phy_status phy_vk_backend_create(struct phy_backend **out, uint32_t index, const struct phy_vk_options *options,
                                      char *failed, const struct phy_host *host)
{
    *out = NULL;
    char differs[PHY_VK_FAILED_BYTES] = "";
    struct vk_backend *b = phy_zalloc(1, sizeof *b);
    if (!b)
        return phy_fail_memory(host, "a device", sizeof *b);
    b->base.ops = &ops;
    b->warn_only = options && options->optional;
    enum phy_status status = phy_vk_device_open(b, index, options ? options : &(struct phy_vk_options){0}, host);
    if (status == PHY_OK)
        status = phy_vk_self_test(b, differs);
    if (differs[0])
        phy_vk_report(b, status, "device %s (%s) is not bit-exact and is refused: its self-test differs in %s",
                      b->base.name, b->base.description, differs);
    if (failed)
        memcpy(failed, differs, sizeof differs);
    if (status) {
        destroy(&b->base);
        return status;
    }
    b->warn_only = true;
    *out = &b->base;
    return PHY_OK;
}

void phy_vk_backend_device_time(const struct phy_backend *backend, uint64_t *compute_ns, uint64_t *dispatches)
{
    const struct vk_backend *b = (const struct vk_backend *)backend;
    *compute_ns = atomic_load(&b->compute_ns);
    *dispatches = atomic_load(&b->dispatches);
}
