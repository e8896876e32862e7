/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/log.h"
#include "device/device_set.h"
#include "kernels/flow_self_test.h"
#include "physarium/device.h"
#include "vk/vk_backend.h"

static const char *cpu_vendor(void)
{
    const char *model = phy_cpu_model();
    return strstr(model, "AMD") ? "AMD" : strstr(model, "Intel") ? "Intel" : "unknown";
}

static enum phy_status describe_cpu(struct phy_device_info *info, const struct phy_flow_variant *variant,
                                    const struct phy_host *host)
{
    struct phy_cpu_features have = phy_cpu_detect();
    *info = (struct phy_device_info){.kind = PHY_DEVICE_CPU,
                                     .available = phy_cpu_meets(&have, &variant->needs),
                                     .type = "cpu",
                                     .threads = phy_cpu_count()};
    snprintf(info->name, sizeof info->name, "cpu:%s", variant->name);
    snprintf(info->device_name, sizeof info->device_name, "%s", phy_cpu_model());
    snprintf(info->vendor, sizeof info->vendor, "%s", cpu_vendor());
    if (!info->available)
        return PHY_OK;
    enum phy_status status = phy_flow_self_test(variant, info->failed_operation, sizeof info->failed_operation);
    if (status == PHY_ERR_MEMORY)
        return phy_fail(host, status, "out of memory: self-test of device %s", info->name);
    info->self_tested = true;
    info->bit_exact = status == PHY_OK;
    if (info->bit_exact)
        info->failed_operation[0] = 0;
    return PHY_OK;
}

static enum phy_status test_vulkan(struct phy_device_info *info, uint32_t index, const struct phy_host *host)
{
    struct phy_backend *backend = NULL;
    const struct phy_vk_options options = {.optional = true};
    static_assert(sizeof info->failed_operation >= PHY_VK_FAILED_BYTES, "it fits");
    enum phy_status status = phy_vk_backend_create(&backend, index, &options, info->failed_operation, host);
    phy_backend_destroy(&backend);
    info->bit_exact = status == PHY_OK;
    info->self_tested = info->bit_exact || info->failed_operation[0];
    info->available = info->available && info->self_tested;
    return status == PHY_ERR_MEMORY ? status : PHY_OK;
}

static enum phy_status fill(struct phy_device_list *list, size_t cpu_count, const struct phy_device_info *vulkan,
                            size_t vulkan_count, const struct phy_host *host)
{
    list->devices = phy_zalloc(cpu_count + vulkan_count, sizeof *list->devices);
    if (!list->devices)
        return phy_fail_memory(host, "a list of devices", (cpu_count + vulkan_count) * sizeof *list->devices);
    list->count = cpu_count + vulkan_count;
    for (size_t i = 0; i < cpu_count; i++) {
        enum phy_status status = describe_cpu(&list->devices[i], &phy_flow_variants[i], host);
        if (status)
            return status;
    }
    for (size_t i = 0; i < vulkan_count; i++) {
        list->devices[cpu_count + i] = vulkan[i];
        enum phy_status status = test_vulkan(&list->devices[cpu_count + i], (uint32_t)i, host);
        if (status)
            return status;
    }
    return PHY_OK;
}

enum phy_status phy_devices_list_kinds(struct phy_device_list *out, bool with_vulkan, const struct phy_host *host)
{
    *out = (struct phy_device_list){0};
    static_assert(sizeof out->vulkan_note >= PHY_VK_NOTE_BYTES, "it fits");
    size_t cpu_count = 0, vulkan_count = 0;
    while (phy_flow_variants[cpu_count].name)
        cpu_count++;
    struct phy_device_info *vulkan = NULL;
    enum phy_status status = with_vulkan ? phy_vk_list(&vulkan, &vulkan_count, out->vulkan_note, host) : PHY_OK;
    if (status == PHY_OK)
        status = fill(out, cpu_count, vulkan, vulkan_count, host);
    phy_free(vulkan);
    if (status)
        phy_device_list_free(out);
    return status;
}

enum phy_status phy_devices_list(struct phy_device_list *out, const struct phy_host *host)
{
    return phy_devices_list_kinds(out, true, host);
}

void phy_device_list_free(struct phy_device_list *list)
{
    phy_free(list->devices);
    *list = (struct phy_device_list){0};
}
