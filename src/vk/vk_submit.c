/* SPDX-License-Identifier: Apache-2.0 */
#include "base/alloc.h"
#include "vk/vk.h"

static atomic_uint_fast64_t submits_until_lost = UINT64_MAX;

void phy_vk_lose_device_after(uint64_t after)
{
    atomic_store(&submits_until_lost, after);
}

static bool injected_loss(void)
{
    uint64_t left = atomic_load(&submits_until_lost);
    while (left != 0 && left != UINT64_MAX) {
        if (atomic_compare_exchange_weak(&submits_until_lost, &left, left - 1))
            return false;
    }
    return left == 0;
}

enum phy_status phy_vk_slot_create(struct vk_backend *b, struct vk_slot *slot)
{
    const VkCommandPoolCreateInfo pool_info = {.sType = VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO,
                                               .flags = VK_COMMAND_POOL_CREATE_TRANSIENT_BIT,
                                               .queueFamilyIndex = b->queue_family};
    VkResult result = b->vk.vkCreateCommandPool(b->device, &pool_info, NULL, &slot->pool);
    if (result)
        return phy_vk_fail(b, result, "a command pool");
    const VkCommandBufferAllocateInfo commands_info = {
        .sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO, .commandPool = slot->pool, .commandBufferCount = 1};
    result = b->vk.vkAllocateCommandBuffers(b->device, &commands_info, &slot->commands);
    if (result)
        return phy_vk_fail(b, result, "a command buffer");
    const VkFenceCreateInfo fence_info = {.sType = VK_STRUCTURE_TYPE_FENCE_CREATE_INFO};
    result = b->vk.vkCreateFence(b->device, &fence_info, NULL, &slot->fence);
    if (result)
        return phy_vk_fail(b, result, "a fence");
    const VkDescriptorSetAllocateInfo set_info = {.sType = VK_STRUCTURE_TYPE_DESCRIPTOR_SET_ALLOCATE_INFO,
                                                  .descriptorPool = b->descriptor_pool,
                                                  .descriptorSetCount = 1,
                                                  .pSetLayouts = &b->set_layout};
    result = b->vk.vkAllocateDescriptorSets(b->device, &set_info, &slot->set);
    if (result)
        return phy_vk_fail(b, result, "a descriptor set");
    const VkQueryPoolCreateInfo clock_info = {
        .sType = VK_STRUCTURE_TYPE_QUERY_POOL_CREATE_INFO, .queryType = VK_QUERY_TYPE_TIMESTAMP, .queryCount = 2};
    if (b->tick_ns > 0)
        result = b->vk.vkCreateQueryPool(b->device, &clock_info, NULL, &slot->clock);
    return result ? phy_vk_fail(b, result, "a query pool") : PHY_OK;
}

void phy_vk_slot_destroy(struct vk_backend *b, struct vk_slot *slot)
{
    phy_vk_buffer_free(b, &slot->input);
    phy_vk_buffer_free(b, &slot->staging);
    phy_vk_buffer_free(b, &slot->output);
    b->vk.vkDestroyQueryPool(b->device, slot->clock, NULL);
    b->vk.vkDestroyFence(b->device, slot->fence, NULL);
    b->vk.vkDestroyCommandPool(b->device, slot->pool, NULL);
    phy_free(slot->masks);
    *slot = (struct vk_slot){0};
}

/* The slot's set is not in use: each submission is waited for. */
static void bind_buffers(struct vk_backend *b, struct vk_slot *slot, const struct vk_job *job)
{
    const VkDescriptorBufferInfo buffers[4] = {
        [PHY_FLOW_BINDING_CODES] = {slot->input.handle, job->codes.offset, job->codes.bytes},
        [PHY_FLOW_BINDING_SCALES] = {slot->input.handle, job->scales.offset, job->scales.bytes},
        [PHY_FLOW_BINDING_MASKS] = {slot->output.handle, job->masks.offset, job->masks.bytes},
        [PHY_FLOW_BINDING_RESULTS] = {slot->output.handle, job->results.offset, job->results.bytes},
    };
    VkWriteDescriptorSet writes[4];
    for (uint32_t i = 0; i < 4; i++)
        writes[i] = (VkWriteDescriptorSet){.sType = VK_STRUCTURE_TYPE_WRITE_DESCRIPTOR_SET,
                                           .dstSet = slot->set,
                                           .dstBinding = i,
                                           .descriptorCount = 1,
                                           .descriptorType = VK_DESCRIPTOR_TYPE_STORAGE_BUFFER,
                                           .pBufferInfo = &buffers[i]};
    b->vk.vkUpdateDescriptorSets(b->device, 4, writes, 0, NULL);
}

static void record_upload(struct vk_backend *b, struct vk_slot *slot, VkDeviceSize bytes)
{
    const VkBufferCopy copy = {.size = bytes};
    b->vk.vkCmdCopyBuffer(slot->commands, slot->staging.handle, slot->input.handle, 1, &copy);
    const VkMemoryBarrier copied = {.sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER,
                                    .srcAccessMask = VK_ACCESS_TRANSFER_WRITE_BIT,
                                    .dstAccessMask = VK_ACCESS_SHADER_READ_BIT | VK_ACCESS_SHADER_WRITE_BIT};
    b->vk.vkCmdPipelineBarrier(slot->commands, VK_PIPELINE_STAGE_TRANSFER_BIT, VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT, 0,
                               1, &copied, 0, NULL, 0, NULL);
}

static VkResult record(struct vk_backend *b, struct vk_slot *slot, const struct vk_job *job)
{
    const VkCommandBufferBeginInfo begin = {.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO,
                                            .flags = VK_COMMAND_BUFFER_USAGE_ONE_TIME_SUBMIT_BIT};
    VkResult result = b->vk.vkResetCommandPool(b->device, slot->pool, 0);
    if (result == VK_SUCCESS)
        result = b->vk.vkBeginCommandBuffer(slot->commands, &begin);
    if (result)
        return result;
    if (slot->clock)
        b->vk.vkCmdResetQueryPool(slot->commands, slot->clock, 0, 2);
    if (slot->staging.handle && job->upload_bytes)
        record_upload(b, slot, job->upload_bytes);
    if (slot->clock)
        b->vk.vkCmdWriteTimestamp(slot->commands, VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT, slot->clock, 0);
    b->vk.vkCmdBindPipeline(slot->commands, VK_PIPELINE_BIND_POINT_COMPUTE, job->pipeline);
    b->vk.vkCmdBindDescriptorSets(slot->commands, VK_PIPELINE_BIND_POINT_COMPUTE, b->pipeline_layout, 0, 1, &slot->set,
                                  0, NULL);
    b->vk.vkCmdPushConstants(slot->commands, b->pipeline_layout, VK_SHADER_STAGE_COMPUTE_BIT, 0, job->push_bytes,
                             job->push);
    b->vk.vkCmdDispatch(slot->commands, job->workgroups, 1, 1);
    if (slot->clock)
        b->vk.vkCmdWriteTimestamp(slot->commands, VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT, slot->clock, 1);
    const VkMemoryBarrier written = {.sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER,
                                     .srcAccessMask = VK_ACCESS_SHADER_WRITE_BIT,
                                     .dstAccessMask = VK_ACCESS_HOST_READ_BIT};
    b->vk.vkCmdPipelineBarrier(slot->commands, VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT, VK_PIPELINE_STAGE_HOST_BIT, 0, 1,
                               &written, 0, NULL, 0, NULL);
    return b->vk.vkEndCommandBuffer(slot->commands);
}

VkResult phy_vk_run(struct vk_backend *b, struct vk_slot *slot)
{
    if (injected_loss())
        return VK_ERROR_DEVICE_LOST;
    const VkSubmitInfo submit = {
        .sType = VK_STRUCTURE_TYPE_SUBMIT_INFO, .commandBufferCount = 1, .pCommandBuffers = &slot->commands};
    VkResult result = b->vk.vkResetFences(b->device, 1, &slot->fence);
    if (result)
        return result;
    pthread_mutex_lock(&b->queue_mutex);
    result = b->vk.vkQueueSubmit(b->queue, 1, &submit, slot->fence);
    pthread_mutex_unlock(&b->queue_mutex);
    return result ? result : b->vk.vkWaitForFences(b->device, 1, &slot->fence, VK_TRUE, UINT64_MAX);
}

enum phy_status phy_vk_submit(struct vk_backend *b, struct vk_slot *slot, const struct vk_job *job, uint64_t *device_ns)
{
    *device_ns = 0;
    bind_buffers(b, slot, job);
    VkResult result = record(b, slot, job);
    if (result == VK_SUCCESS)
        result = phy_vk_run(b, slot);
    uint64_t ticks[2] = {0, 0};
    if (result == VK_SUCCESS && slot->clock)
        result = b->vk.vkGetQueryPoolResults(b->device, slot->clock, 0, 2, sizeof ticks, ticks, sizeof *ticks,
                                             VK_QUERY_RESULT_64_BIT | VK_QUERY_RESULT_WAIT_BIT);
    if (result)
        return phy_vk_fail(b, result, "a submission");
    if (ticks[1] > ticks[0]) /* a clock of few bits may have wrapped: then this run is not counted */
        *device_ns = (uint64_t)((double)(ticks[1] - ticks[0]) * b->tick_ns);
    return PHY_OK;
}
