/* SPDX-License-Identifier: Apache-2.0 */
/* A device proves itself before it is trusted: single operations, then whole tiles as any region runs. */
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/log.h"
#include "kernels/flow_self_test.h"
#include "vk/vk.h"

static_assert(sizeof(struct phy_flow_operands) == 4 * PHY_SELF_TEST_OPERAND_WORDS, "as the shader reads them");
static_assert(sizeof(struct phy_flow_outcomes) == 4 * PHY_SELF_TEST_OUTCOME_WORDS, "as the shader writes them");
static_assert(PHY_FLOW_SELF_TEST_OPERANDS % PHY_SELF_TEST_INVOCATIONS == 0, "whole workgroups");

enum {
    OPERAND_BYTES = PHY_FLOW_SELF_TEST_OPERANDS * sizeof(struct phy_flow_operands),
    OUTCOME_BYTES = PHY_FLOW_SELF_TEST_OPERANDS * sizeof(struct phy_flow_outcomes),
};

static atomic_uint spoiled_word = UINT32_MAX;

void phy_vk_spoil_outcome(uint32_t word)
{
    atomic_store(&spoiled_word, word);
}

static enum phy_status run_operations(struct vk_backend *b, VkPipeline pipeline, const char **differs)
{
    struct vk_slot *slot = &b->slots[0];
    const struct phy_flow_push unused = {0};
    const struct vk_range operands = {0, OPERAND_BYTES}, outcomes = {0, OUTCOME_BYTES};
    const struct vk_job job = {.pipeline = pipeline,
                               .push = &unused,
                               .push_bytes = sizeof unused,
                               .workgroups = PHY_FLOW_SELF_TEST_OPERANDS / PHY_SELF_TEST_INVOCATIONS,
                               .codes = operands,
                               .scales = operands,
                               .masks = outcomes,
                               .results = outcomes,
                               .upload_bytes = OPERAND_BYTES};
    enum phy_status status = phy_vk_slot_reserve(b, slot, OPERAND_BYTES, OUTCOME_BYTES);
    if (status)
        return status;
    uint64_t device_ns;
    phy_flow_self_test_operands(b->staging ? slot->staging.mapped : slot->input.mapped);
    status = phy_vk_submit(b, slot, &job, &device_ns);
    uint32_t spoiled = atomic_load(&spoiled_word);
    if (status == PHY_OK && spoiled < OUTCOME_BYTES / 4)
        ((uint32_t *)slot->output.mapped)[spoiled] ^= 1;
    if (status == PHY_OK)
        *differs = phy_flow_self_test_judge_operations(slot->output.mapped);
    return status;
}

static enum phy_status test_operations(struct vk_backend *b, char failed[PHY_VK_FAILED_BYTES])
{
    VkShaderModule module;
    enum phy_status status = phy_vk_module_create(b, phy_vk_spirv_self_test(), &module);
    if (status)
        return status;
    VkPipeline pipeline;
    const char *differs = NULL;
    status = phy_vk_pipeline_create(b, module, b->pipeline_layout, NULL, &pipeline);
    if (status == PHY_OK) {
        status = run_operations(b, pipeline, &differs);
        b->vk.vkDestroyPipeline(b->device, pipeline, NULL);
    }
    b->vk.vkDestroyShaderModule(b->device, module, NULL);
    if (!differs)
        return status;
    snprintf(failed, PHY_VK_FAILED_BYTES, "%s", differs);
    return PHY_ERR_DEVICE;
}

static enum phy_status test_tile(struct vk_backend *b, const struct phy_flow_self_test_tile *tile, float *codes,
                                 char failed[PHY_VK_FAILED_BYTES])
{
    float column_scale[PHY_FLOW_MAX_BLOCK];
    struct phy_flow_tile_result result;
    phy_flow_self_test_inputs(tile, codes, column_scale);
    struct phy_flow_region region = {.codes = codes,
                                     .type = tile->type,
                                     .rows = tile->rows,
                                     .cols = tile->cols,
                                     .column_scale = tile->column_scaled ? column_scale : NULL,
                                     .apply = true,
                                     .tiles = &result};
    enum phy_status status = phy_backend_flow(&b->base, 0, &tile->params, &region);
    if (status)
        return status;
    const char *differs = phy_flow_self_test_judge_tile(tile, codes, NULL, &result);
    if (!differs)
        return PHY_OK;
    snprintf(failed, PHY_VK_FAILED_BYTES, "%s of %s", differs, tile->name);
    return PHY_ERR_DEVICE;
}

enum phy_status phy_vk_self_test(struct vk_backend *b, char failed[PHY_VK_FAILED_BYTES])
{
    enum phy_status status = test_operations(b, failed);
    if (status)
        return status;
    float *codes = phy_alloc(PHY_FLOW_SELF_TEST_MAX_CELLS, sizeof *codes);
    if (!codes)
        return phy_vk_report(b, PHY_ERR_MEMORY, "out of memory: a self-test");
    for (size_t i = 0; i < PHY_FLOW_SELF_TEST_TILES && status == PHY_OK; i++)
        status = test_tile(b, &phy_flow_self_test_tiles[i], codes, failed);
    phy_free(codes);
    return status;
}
