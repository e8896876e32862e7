/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "vk/vk.h"

/* Smallest first: flow_tile.comp says what speaks for which. */
static const struct vk_shape shapes[] = {
    {"8x8", 8, 8}, {"8x16", 8, 16}, {"16x16", 16, 16}, {"16x32", 16, 32}, {NULL, 0, 0},
};
const char *const phy_vk_shape_names[] = {"8x8", "8x16", "16x16", "16x32", NULL};

/* Of line sums, the peak and the counts, in flow_tile.comp. */
enum { SHARED_BYTES = 3 * 512 * 4 + 16 };

static bool can_run(const VkPhysicalDeviceLimits *limits, const struct vk_shape *shape, uint32_t block)
{
    uint32_t invocations = vk_shape_invocations(shape, block);
    return limits->maxComputeWorkGroupInvocations >= invocations && limits->maxComputeWorkGroupSize[0] >= invocations &&
           limits->maxComputeSharedMemorySize >= SHARED_BYTES;
}

const struct vk_shape *phy_vk_shape_for(const VkPhysicalDeviceProperties *properties, uint32_t block, const char *name)
{
    bool cpu = properties->deviceType == VK_PHYSICAL_DEVICE_TYPE_CPU;
    if (!name && cpu && block == PHY_FLOW_MAX_BLOCK && can_run(&properties->limits, &shapes[1], block))
        return &shapes[1];
    for (const struct vk_shape *shape = shapes; shape->name; shape++) {
        if (can_run(&properties->limits, shape, block) && (!name || strcmp(shape->name, name) == 0))
            return shape;
    }
    return NULL;
}

static_assert(sizeof(struct phy_flow_push) <= VK_PUSH_BYTES && sizeof(struct phy_rank_push) <= VK_PUSH_BYTES,
              "one layout serves both");

enum phy_status phy_vk_layouts_create(struct vk_backend *b)
{
    VkDescriptorSetLayoutBinding bindings[4];
    for (uint32_t i = 0; i < 4; i++)
        bindings[i] = (VkDescriptorSetLayoutBinding){
            .binding = i,
            .descriptorType = VK_DESCRIPTOR_TYPE_STORAGE_BUFFER,
            .descriptorCount = 1,
            .stageFlags = VK_SHADER_STAGE_COMPUTE_BIT,
        };
    const VkDescriptorSetLayoutCreateInfo set_info = {
        .sType = VK_STRUCTURE_TYPE_DESCRIPTOR_SET_LAYOUT_CREATE_INFO,
        .bindingCount = 4,
        .pBindings = bindings,
    };
    VkResult result = b->vk.vkCreateDescriptorSetLayout(b->device, &set_info, NULL, &b->set_layout);
    if (result)
        return phy_vk_fail(b, result, "a descriptor set layout");
    const VkPushConstantRange range = {.stageFlags = VK_SHADER_STAGE_COMPUTE_BIT, .size = VK_PUSH_BYTES};
    const VkPipelineLayoutCreateInfo layout_info = {
        .sType = VK_STRUCTURE_TYPE_PIPELINE_LAYOUT_CREATE_INFO,
        .setLayoutCount = 1,
        .pSetLayouts = &b->set_layout,
        .pushConstantRangeCount = 1,
        .pPushConstantRanges = &range,
    };
    result = b->vk.vkCreatePipelineLayout(b->device, &layout_info, NULL, &b->pipeline_layout);
    if (result)
        return phy_vk_fail(b, result, "a pipeline layout");
    const VkDescriptorPoolSize size = {VK_DESCRIPTOR_TYPE_STORAGE_BUFFER, 4 * VK_SLOT_COUNT};
    const VkDescriptorPoolCreateInfo pool_info = {
        .sType = VK_STRUCTURE_TYPE_DESCRIPTOR_POOL_CREATE_INFO,
        .maxSets = VK_SLOT_COUNT,
        .poolSizeCount = 1,
        .pPoolSizes = &size,
    };
    result = b->vk.vkCreateDescriptorPool(b->device, &pool_info, NULL, &b->descriptor_pool);
    if (result)
        return phy_vk_fail(b, result, "a descriptor pool");
    return phy_vk_module_create(b, phy_vk_spirv_flow_tile(), &b->flow_module);
}

enum phy_status phy_vk_module_create(struct vk_backend *b, struct vk_spirv spirv, VkShaderModule *out)
{
    const VkShaderModuleCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_SHADER_MODULE_CREATE_INFO,
        .codeSize = spirv.bytes,
        .pCode = spirv.words,
    };
    VkResult result = b->vk.vkCreateShaderModule(b->device, &info, NULL, out);
    return result ? phy_vk_fail(b, result, "a shader") : PHY_OK;
}

enum phy_status phy_vk_pipeline_create(struct vk_backend *b, VkShaderModule module, VkPipelineLayout layout,
                                       const VkSpecializationInfo *constants, VkPipeline *out)
{
    const VkComputePipelineCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_COMPUTE_PIPELINE_CREATE_INFO,
        .stage = {.sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_CREATE_INFO,
                  .stage = VK_SHADER_STAGE_COMPUTE_BIT,
                  .module = module,
                  .pName = "main",
                  .pSpecializationInfo = constants},
        .layout = layout,
    };
    VkResult result = b->vk.vkCreateComputePipelines(b->device, b->pipeline_cache, 1, &info, NULL, out);
    return result ? phy_vk_fail(b, result, "a compute pipeline") : PHY_OK;
}

enum phy_status phy_vk_flow_pipeline(struct vk_backend *b, const struct phy_flow_params *params,
                                     enum phy_float_type type, bool scaled, VkPipeline *out)
{
    uint32_t block_index = vk_block_index(params->block);
    const struct vk_shape *shape = b->shapes[block_index];
    uint32_t index = ((block_index * 3 + (uint32_t)type) * 4 + params->beta - 1) * 2 + scaled;
    uint32_t values[PHY_FLOW_SPEC_COUNT] = {
        [PHY_FLOW_SPEC_INVOCATIONS] = vk_shape_invocations(shape, params->block),
        [PHY_FLOW_SPEC_BLOCK] = params->block,
        [PHY_FLOW_SPEC_PATCH_ROWS] = shape->rows,
        [PHY_FLOW_SPEC_PATCH_COLS] = shape->cols,
        [PHY_FLOW_SPEC_TYPE] = (uint32_t)type,
        [PHY_FLOW_SPEC_BETA] = params->beta,
        [PHY_FLOW_SPEC_SCALED] = scaled,
    };
    VkSpecializationMapEntry entries[PHY_FLOW_SPEC_COUNT];
    for (uint32_t i = 0; i < PHY_FLOW_SPEC_COUNT; i++)
        entries[i] = (VkSpecializationMapEntry){.constantID = i, .offset = 4 * i, .size = 4};
    const VkSpecializationInfo constants = {
        .mapEntryCount = PHY_FLOW_SPEC_COUNT, .pMapEntries = entries, .dataSize = sizeof values, .pData = values};
    enum phy_status status = PHY_OK;
    pthread_mutex_lock(&b->pipeline_mutex);
    if (!b->flow_pipelines[index])
        status = phy_vk_pipeline_create(b, b->flow_module, b->pipeline_layout, &constants, &b->flow_pipelines[index]);
    *out = b->flow_pipelines[index];
    pthread_mutex_unlock(&b->pipeline_mutex);
    return status;
}
