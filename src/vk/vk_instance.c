/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/log.h"
#include "vk/vk.h"

static const char validation_layer[] = "VK_LAYER_KHRONOS_validation";

/* volk's global pointers are written once: they are the loader's and serve every instance. */
static pthread_mutex_t volk_mutex = PTHREAD_MUTEX_INITIALIZER;
static bool volk_ready, volk_loaded;
static atomic_uint validation_messages;

bool phy_vk_validation_asked(void)
{
    const char *value = getenv("PHY_VK_VALIDATE");
    return value && strcmp(value, "1") == 0;
}

unsigned phy_vk_validation_messages(void)
{
    return atomic_load(&validation_messages);
}

static bool find_loader(void)
{
    pthread_mutex_lock(&volk_mutex);
    if (!volk_ready)
        volk_ready = volkInitialize() == VK_SUCCESS;
    bool ready = volk_ready;
    pthread_mutex_unlock(&volk_mutex);
    return ready;
}

bool phy_vk_validation_available(void)
{
    VkLayerProperties layers[64];
    uint32_t count = 64;
    if (!find_loader() || vkEnumerateInstanceLayerProperties(&count, layers) < 0)
        return false;
    for (uint32_t i = 0; i < count; i++) {
        if (strcmp(layers[i].layerName, validation_layer) == 0)
            return true;
    }
    return false;
}

static VKAPI_ATTR VkBool32 VKAPI_CALL on_message(VkDebugUtilsMessageSeverityFlagBitsEXT severity,
                                                 VkDebugUtilsMessageTypeFlagsEXT type,
                                                 const VkDebugUtilsMessengerCallbackDataEXT *data, void *user)
{
    (void)severity;
    (void)type;
    atomic_fetch_add(&validation_messages, 1);
    phy_fail(user, PHY_ERR_INTERNAL, "Vulkan validation: %s", data->pMessage);
    return VK_FALSE;
}

/* Synchronisation validation too: off by default in the layer. */
static VkResult create_instance(struct vk_instance *out, bool validate, const struct phy_host *host)
{
    static const VkValidationFeatureEnableEXT enabled[] = {VK_VALIDATION_FEATURE_ENABLE_SYNCHRONIZATION_VALIDATION_EXT};
    const VkDebugUtilsMessengerCreateInfoEXT messenger = {
        .sType = VK_STRUCTURE_TYPE_DEBUG_UTILS_MESSENGER_CREATE_INFO_EXT,
        .messageSeverity =
            VK_DEBUG_UTILS_MESSAGE_SEVERITY_WARNING_BIT_EXT | VK_DEBUG_UTILS_MESSAGE_SEVERITY_ERROR_BIT_EXT,
        .messageType = VK_DEBUG_UTILS_MESSAGE_TYPE_VALIDATION_BIT_EXT | VK_DEBUG_UTILS_MESSAGE_TYPE_PERFORMANCE_BIT_EXT,
        .pfnUserCallback = on_message,
        .pUserData = (void *)host,
    };
    const VkValidationFeaturesEXT features = {
        .sType = VK_STRUCTURE_TYPE_VALIDATION_FEATURES_EXT,
        .pNext = &messenger, /* covers the instance's own creation and destruction */
        .enabledValidationFeatureCount = 1,
        .pEnabledValidationFeatures = enabled,
    };
    static const char *const layers[] = {validation_layer}, *const extensions[] = {VK_EXT_DEBUG_UTILS_EXTENSION_NAME};
    const VkApplicationInfo application = {
        .sType = VK_STRUCTURE_TYPE_APPLICATION_INFO,
        .pApplicationName = "physarium",
        .apiVersion = VK_API_VERSION_1_1,
    };
    const VkInstanceCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_INSTANCE_CREATE_INFO,
        .pNext = validate ? &features : NULL,
        .pApplicationInfo = &application,
        .enabledLayerCount = validate,
        .ppEnabledLayerNames = layers,
        .enabledExtensionCount = validate,
        .ppEnabledExtensionNames = extensions,
    };
    VkResult result = vkCreateInstance(&info, NULL, &out->handle);
    if (result)
        return result;
    pthread_mutex_lock(&volk_mutex);
    if (!volk_loaded)
        volkLoadInstanceOnly(out->handle);
    volk_loaded = true;
    pthread_mutex_unlock(&volk_mutex);
    return validate ? vkCreateDebugUtilsMessengerEXT(out->handle, &messenger, NULL, &out->messenger) : VK_SUCCESS;
}

static enum phy_status find_devices(struct vk_instance *instance, const struct phy_host *host)
{
    uint32_t count = 0;
    if (vkEnumeratePhysicalDevices(instance->handle, &count, NULL) < 0 || count == 0)
        return PHY_OK;
    instance->devices = phy_zalloc(count, sizeof *instance->devices);
    if (!instance->devices)
        return phy_fail_memory(host, "a list of Vulkan devices", count * sizeof *instance->devices);
    if (vkEnumeratePhysicalDevices(instance->handle, &count, instance->devices) < 0)
        return PHY_OK;
    for (uint32_t i = 0; i < count; i++) {
        VkPhysicalDeviceProperties properties;
        vkGetPhysicalDeviceProperties(instance->devices[i], &properties);
        if (properties.apiVersion >= VK_API_VERSION_1_1)
            instance->devices[instance->device_count++] = instance->devices[i];
    }
    return PHY_OK;
}

static void no_driver(char note[PHY_VK_NOTE_BYTES], const char *what)
{
    snprintf(note, PHY_VK_NOTE_BYTES,
             "%s: install one with the graphics vendor's driver package, or the software driver with "
             "`apt install mesa-vulkan-drivers`",
             what);
}

enum phy_status phy_vk_instance_open(struct vk_instance *out, char note[PHY_VK_NOTE_BYTES], const struct phy_host *host)
{
    *out = (struct vk_instance){0};
    note[0] = 0;
    if (!find_loader()) {
        snprintf(note, PHY_VK_NOTE_BYTES,
                 "no Vulkan loader (libvulkan.so.1): install it and a driver with "
                 "`apt install libvulkan1 mesa-vulkan-drivers`, or with the graphics vendor's driver package");
        return PHY_ERR_DEVICE;
    }
    bool validate = phy_vk_validation_asked();
    if (validate && !phy_vk_validation_available()) {
        phy_warn(host, "PHY_VK_VALIDATE=1: the Vulkan validation layer is not installed");
        validate = false;
    }
    VkResult result = create_instance(out, validate, host);
    enum phy_status status = PHY_OK;
    if (result == VK_ERROR_OUT_OF_HOST_MEMORY)
        status = phy_fail(host, PHY_ERR_MEMORY, "out of memory: a Vulkan instance");
    else if (result == VK_SUCCESS)
        status = find_devices(out, host);
    if (status == PHY_OK && out->device_count == 0) {
        no_driver(note, result == VK_SUCCESS || result == VK_ERROR_INCOMPATIBLE_DRIVER
                            ? "no Vulkan 1.1 driver or device"
                            : "the Vulkan loader does not start");
        status = PHY_ERR_DEVICE;
    }
    if (status)
        phy_vk_instance_close(out);
    return status;
}

void phy_vk_instance_close(struct vk_instance *instance)
{
    if (instance->messenger)
        vkDestroyDebugUtilsMessengerEXT(instance->handle, instance->messenger, NULL);
    if (instance->handle)
        vkDestroyInstance(instance->handle, NULL);
    phy_free(instance->devices);
    *instance = (struct vk_instance){0};
}
