/* SPDX-License-Identifier: Apache-2.0 */
#include "base/log.h"
#include "vk/vk.h"

/* A smaller window of device memory (256 MiB without a resizable BAR) is left to the driver. */
static const VkDeviceSize smallest_window = (VkDeviceSize)512 << 20;

/* Properties that must be there, best choice first; each list ends with what Vulkan promises, or with 0. */
static const VkMemoryPropertyFlags choices[][4] = {
    [VK_MEMORY_DEVICE] = {VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT},
    [VK_MEMORY_DEVICE_MAPPED] = {VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT | VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT |
                                 VK_MEMORY_PROPERTY_HOST_COHERENT_BIT},
    [VK_MEMORY_UPLOAD] = {VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT | VK_MEMORY_PROPERTY_HOST_COHERENT_BIT},
    [VK_MEMORY_READBACK] = {VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT | VK_MEMORY_PROPERTY_HOST_COHERENT_BIT |
                                VK_MEMORY_PROPERTY_HOST_CACHED_BIT,
                            VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT | VK_MEMORY_PROPERTY_HOST_COHERENT_BIT},
};

bool phy_vk_host_writes_device_memory(const VkPhysicalDeviceMemoryProperties *memory)
{
    VkMemoryPropertyFlags needs = choices[VK_MEMORY_DEVICE_MAPPED][0];
    for (uint32_t i = 0; i < memory->memoryTypeCount; i++) {
        const VkMemoryType *type = &memory->memoryTypes[i];
        if ((type->propertyFlags & needs) == needs && memory->memoryHeaps[type->heapIndex].size >= smallest_window)
            return true;
    }
    return false;
}

/* The first allowed type that has all of the first choice it can; UINT32_MAX if there is none. */
static uint32_t memory_type(const struct vk_backend *b, enum vk_memory kind, uint32_t allowed)
{
    for (size_t choice = 0; choice < 4 && choices[kind][choice]; choice++) {
        VkMemoryPropertyFlags needs = choices[kind][choice];
        for (uint32_t i = 0; i < b->memory.memoryTypeCount; i++) {
            if ((allowed >> i & 1) && (b->memory.memoryTypes[i].propertyFlags & needs) == needs)
                return i;
        }
    }
    return UINT32_MAX;
}

void phy_vk_buffer_free(struct vk_backend *b, struct vk_buffer *buffer)
{
    b->vk.vkDestroyBuffer(b->device, buffer->handle, NULL);
    b->vk.vkFreeMemory(b->device, buffer->memory, NULL); /* unmaps it */
    *buffer = (struct vk_buffer){0};
}

static VkResult allocate(struct vk_backend *b, struct vk_buffer *buffer, enum vk_memory kind, VkDeviceSize bytes)
{
    const VkBufferCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_BUFFER_CREATE_INFO,
        .size = bytes,
        .usage = VK_BUFFER_USAGE_STORAGE_BUFFER_BIT | VK_BUFFER_USAGE_TRANSFER_SRC_BIT |
                 VK_BUFFER_USAGE_TRANSFER_DST_BIT | (b->texels ? VK_BUFFER_USAGE_UNIFORM_TEXEL_BUFFER_BIT : 0),
    };
    VkResult result = b->vk.vkCreateBuffer(b->device, &info, NULL, &buffer->handle);
    if (result)
        return result;
    VkMemoryRequirements needs;
    b->vk.vkGetBufferMemoryRequirements(b->device, buffer->handle, &needs);
    const VkMemoryAllocateInfo memory = {
        .sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO,
        .allocationSize = needs.size,
        .memoryTypeIndex = memory_type(b, kind, needs.memoryTypeBits),
    };
    if (memory.memoryTypeIndex == UINT32_MAX)
        return VK_ERROR_OUT_OF_DEVICE_MEMORY;
    result = b->vk.vkAllocateMemory(b->device, &memory, NULL, &buffer->memory);
    if (result)
        return result;
    result = b->vk.vkBindBufferMemory(b->device, buffer->handle, buffer->memory, 0);
    if (result || kind == VK_MEMORY_DEVICE)
        return result;
    return b->vk.vkMapMemory(b->device, buffer->memory, 0, VK_WHOLE_SIZE, 0, &buffer->mapped);
}

enum phy_status phy_vk_buffer_reserve(struct vk_backend *b, struct vk_buffer *buffer, enum vk_memory kind,
                                      VkDeviceSize bytes)
{
    if (buffer->bytes >= bytes)
        return PHY_OK;
    phy_vk_buffer_free(b, buffer);
    VkResult result = allocate(b, buffer, kind, bytes);
    if (result) {
        phy_vk_buffer_free(b, buffer);
        return phy_vk_fail(b, result, "a buffer");
    }
    buffer->bytes = bytes;
    return PHY_OK;
}
