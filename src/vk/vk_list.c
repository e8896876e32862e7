/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/log.h"
#include "vk/vk.h"

static const char *vendor_name(uint32_t id)
{
    static const struct {
        uint32_t id;
        const char *name;
    } vendors[] = {
        {0x1002, "AMD"},      {0x1022, "AMD"},    {0x10DE, "NVIDIA"},   {0x8086, "Intel"},
        {0x106B, "Apple"},    {0x13B5, "ARM"},    {0x5143, "Qualcomm"}, {0x1010, "ImgTec"},
        {0x14E4, "Broadcom"}, {0x1AE0, "Google"}, {0x10005, "Mesa"},
    };
    for (size_t i = 0; i < sizeof vendors / sizeof *vendors; i++) {
        if (vendors[i].id == id)
            return vendors[i].name;
    }
    return NULL;
}

static const char *type_name(VkPhysicalDeviceType type)
{
    switch (type) {
    case VK_PHYSICAL_DEVICE_TYPE_CPU:
        return "cpu";
    case VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU:
        return "discrete";
    case VK_PHYSICAL_DEVICE_TYPE_INTEGRATED_GPU:
        return "integrated";
    case VK_PHYSICAL_DEVICE_TYPE_VIRTUAL_GPU:
        return "virtual";
    default:
        return "other";
    }
}

/* A driver's text, with what is not printable ASCII replaced. */
static void copy_text(char *to, size_t bytes, const char *from)
{
    size_t i = 0;
    for (; i + 1 < bytes && from[i]; i++)
        to[i] = from[i] >= 0x20 && from[i] < 0x7F ? from[i] : '?';
    to[i] = 0;
}

bool phy_vk_has_extension(VkPhysicalDevice device, const char *name)
{
    uint32_t count = 0;
    bool found = false;
    if (vkEnumerateDeviceExtensionProperties(device, NULL, &count, NULL) < 0)
        return false;
    VkExtensionProperties *extensions = phy_alloc(count, sizeof *extensions);
    if (extensions && vkEnumerateDeviceExtensionProperties(device, NULL, &count, extensions) >= 0) {
        for (uint32_t i = 0; i < count && !found; i++)
            found = strcmp(extensions[i].extensionName, name) == 0;
    }
    phy_free(extensions);
    return found;
}

static void describe_driver(struct phy_device_info *info, VkPhysicalDevice device,
                            const VkPhysicalDeviceProperties *properties)
{
    VkPhysicalDeviceDriverProperties driver = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_DRIVER_PROPERTIES};
    VkPhysicalDeviceSubgroupProperties subgroup = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_PROPERTIES};
    VkPhysicalDeviceProperties2 all = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2, .pNext = &subgroup};
    if (properties->apiVersion >= VK_API_VERSION_1_2 ||
        phy_vk_has_extension(device, VK_KHR_DRIVER_PROPERTIES_EXTENSION_NAME))
        subgroup.pNext = &driver;
    vkGetPhysicalDeviceProperties2(device, &all);
    info->subgroup_size = subgroup.subgroupSize;
    char text[sizeof driver.driverName + sizeof driver.driverInfo + 64];
    uint32_t version = properties->driverVersion;
    if (driver.driverInfo[0])
        snprintf(text, sizeof text, "%s %s", driver.driverName, driver.driverInfo);
    else
        snprintf(text, sizeof text, "%s%s%u.%u.%u", driver.driverName, driver.driverName[0] ? " " : "",
                 VK_API_VERSION_MAJOR(version), VK_API_VERSION_MINOR(version), VK_API_VERSION_PATCH(version));
    copy_text(info->driver, sizeof info->driver, text);
}

static void describe_forms(struct phy_device_info *info, VkPhysicalDevice device,
                           const VkPhysicalDeviceProperties *properties)
{
    struct vk_backend b = {.physical = device, .properties = *properties};
    phy_vk_find_integer_dot(&b);
    phy_vk_find_subgroups(&b);
    phy_vk_find_matrices(&b);
    phy_vk_describe_forms(&b, info);
}

static void describe(struct phy_device_info *info, VkPhysicalDevice device, uint32_t index)
{
    VkPhysicalDeviceProperties properties;
    VkPhysicalDeviceMemoryProperties memory;
    vkGetPhysicalDeviceProperties(device, &properties);
    vkGetPhysicalDeviceMemoryProperties(device, &memory);
    const VkPhysicalDeviceLimits *limits = &properties.limits;
    *info = (struct phy_device_info){
        .kind = PHY_DEVICE_VULKAN,
        .available = phy_vk_shape_for(&properties, PHY_FLOW_MAX_BLOCK, NULL) != NULL,
        .max_invocations = limits->maxComputeWorkGroupInvocations,
        .max_shared_bytes = limits->maxComputeSharedMemorySize,
        .max_storage_range_bytes = limits->maxStorageBufferRange,
    };
    for (uint32_t i = 0; i < memory.memoryHeapCount; i++) {
        if (memory.memoryHeaps[i].flags & VK_MEMORY_HEAP_DEVICE_LOCAL_BIT)
            info->memory_bytes += memory.memoryHeaps[i].size;
    }
    snprintf(info->name, sizeof info->name, "vulkan:%u", index);
    copy_text(info->device_name, sizeof info->device_name, properties.deviceName);
    info->vendor_id = properties.vendorID;
    info->device_id = properties.deviceID;
    const char *vendor = vendor_name(properties.vendorID);
    if (vendor)
        snprintf(info->vendor, sizeof info->vendor, "%s", vendor);
    else
        snprintf(info->vendor, sizeof info->vendor, "0x%04x", properties.vendorID);
    snprintf(info->api_version, sizeof info->api_version, "%u.%u.%u", VK_API_VERSION_MAJOR(properties.apiVersion),
             VK_API_VERSION_MINOR(properties.apiVersion), VK_API_VERSION_PATCH(properties.apiVersion));
    snprintf(info->type, sizeof info->type, "%s", type_name(properties.deviceType));
    describe_driver(info, device, &properties);
    describe_forms(info, device, &properties);
}

enum phy_status phy_vk_list(struct phy_device_info **out, size_t *count, char note[PHY_VK_NOTE_BYTES],
                            const struct phy_host *host)
{
    *out = NULL;
    *count = 0;
    struct vk_instance instance;
    enum phy_status status = phy_vk_instance_open(&instance, note, host);
    if (status == PHY_ERR_DEVICE)
        return PHY_OK; /* the note says it */
    if (status)
        return status;
    *out = phy_zalloc(instance.device_count, sizeof **out);
    if (*out) {
        for (uint32_t i = 0; i < instance.device_count; i++)
            describe(&(*out)[i], instance.devices[i], i);
        *count = instance.device_count;
    } else {
        status = phy_fail_memory(host, "a list of Vulkan devices", instance.device_count * sizeof **out);
    }
    phy_vk_instance_close(&instance);
    return status;
}
