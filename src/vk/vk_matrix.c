/* SPDX-License-Identifier: Apache-2.0 */
/* VK_KHR_cooperative_matrix of a device, where the build's headers and glslc know it. */
#include "vk/vk.h"

#if PHY_VK_MATRICES

static const char *const extensions[] = {
    VK_KHR_COOPERATIVE_MATRIX_EXTENSION_NAME,
    VK_KHR_VULKAN_MEMORY_MODEL_EXTENSION_NAME, /* which SPIR-V with such matrices has */
    VK_KHR_SHADER_FLOAT16_INT8_EXTENSION_NAME,
};
enum { EXTENSIONS = sizeof extensions / sizeof *extensions };
static_assert(sizeof extensions / sizeof *extensions <= VK_MATRIX_EXTENSIONS, "callers have room for them");

/* Chained, before `next`. */
static void chain(struct vk_matrix_request *r, VkBool32 value, const void *next)
{
    r->half = (VkPhysicalDeviceShaderFloat16Int8FeaturesKHR){
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_FLOAT16_INT8_FEATURES_KHR,
        .pNext = (void *)next,
        .shaderFloat16 = value};
    r->memory = (VkPhysicalDeviceVulkanMemoryModelFeaturesKHR){
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_MEMORY_MODEL_FEATURES_KHR,
        .pNext = &r->half,
        .vulkanMemoryModel = value,
        .vulkanMemoryModelDeviceScope = value}; /* other shaders' atomics have it */
    r->matrix = (VkPhysicalDeviceCooperativeMatrixFeaturesKHR){
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_COOPERATIVE_MATRIX_FEATURES_KHR,
        .pNext = &r->memory,
        .cooperativeMatrix = value};
}

/* They divide what matmul_matrix.comp takes at a time: 32 rows of x, 32 rows of w, 32 columns. */
static bool suits(const VkCooperativeMatrixPropertiesKHR *p)
{
    return p->AType == VK_COMPONENT_TYPE_FLOAT16_KHR && p->BType == VK_COMPONENT_TYPE_FLOAT16_KHR &&
           p->CType == VK_COMPONENT_TYPE_FLOAT32_KHR && p->ResultType == VK_COMPONENT_TYPE_FLOAT32_KHR &&
           p->scope == VK_SCOPE_SUBGROUP_KHR && p->MSize >= 4 && p->MSize <= 32 && 32 % p->MSize == 0 &&
           p->NSize >= 4 && p->NSize <= 32 && 32 % p->NSize == 0 && p->KSize >= 8 && p->KSize <= 32 &&
           32 % p->KSize == 0;
}

void phy_vk_find_matrices(struct vk_backend *b)
{
    enum { MOST = 64 };
    VkCooperativeMatrixPropertiesKHR found[MOST];
    uint32_t count = MOST, best = 0;
    struct vk_matrix_request have;
    for (uint32_t i = 0; i < EXTENSIONS; i++) {
        if (!phy_vk_has_extension(b->physical, extensions[i]))
            return;
    }
    chain(&have, VK_FALSE, NULL);
    VkPhysicalDeviceFeatures2 features = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2, .pNext = &have.matrix};
    vkGetPhysicalDeviceFeatures2(b->physical, &features);
    if (!b->subgroup_size || !have.matrix.cooperativeMatrix || !have.memory.vulkanMemoryModel ||
        !have.memory.vulkanMemoryModelDeviceScope || !have.half.shaderFloat16 ||
        !vkGetPhysicalDeviceCooperativeMatrixPropertiesKHR)
        return;
    for (uint32_t i = 0; i < MOST; i++)
        found[i] = (VkCooperativeMatrixPropertiesKHR){.sType = VK_STRUCTURE_TYPE_COOPERATIVE_MATRIX_PROPERTIES_KHR};
    VkResult result = vkGetPhysicalDeviceCooperativeMatrixPropertiesKHR(b->physical, &count, found);
    if (result != VK_SUCCESS && result != VK_INCOMPLETE)
        return;
    for (uint32_t i = 0; i < count; i++) {
        if (!suits(&found[i]) || found[i].MSize * found[i].NSize * found[i].KSize <= best)
            continue;
        best = found[i].MSize * found[i].NSize * found[i].KSize;
        b->matrix = (struct vk_matrix_shape){found[i].MSize, found[i].NSize, found[i].KSize};
    }
}

void phy_vk_ask_matrices(const struct vk_backend *b, struct vk_matrix_request *request, VkDeviceCreateInfo *info,
                         const char **names)
{
    if (!b->matrix.m)
        return;
    chain(request, VK_TRUE, info->pNext);
    info->pNext = &request->matrix;
    for (uint32_t i = 0; i < EXTENSIONS; i++)
        names[info->enabledExtensionCount++] = extensions[i];
}

#else

void phy_vk_find_matrices(struct vk_backend *b)
{
    (void)b;
}

void phy_vk_ask_matrices(const struct vk_backend *b, struct vk_matrix_request *request, VkDeviceCreateInfo *info,
                         const char **names)
{
    (void)b;
    (void)request;
    (void)info;
    (void)names;
}

#endif
