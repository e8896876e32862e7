/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "audit/audit_parts.h"
#include "base/alloc.h"
#include "base/log.h"
#include "device/device_set.h"
#include "vk/vk_backend.h"
#include "vk/vk_matmul.h"

const struct phy_activation_variant *phy_audit_activation(const char *device)
{
    struct phy_cpu_features have = phy_cpu_detect();
    return phy_activation_variant_named(strncmp(device, "cpu:", 4) == 0 ? device + 4
                                                                        : phy_matmul_variant_best(&have)->name);
}

/* What the name of a device that is not Vulkan's stands for; `count`: none. */
static size_t find_cpu(const struct phy_device_list *list, const char *word, size_t bytes)
{
    size_t best = list->count;
    for (size_t i = 0; i < list->count && list->devices[i].kind == PHY_DEVICE_CPU; i++) {
        const struct phy_device_info *d = &list->devices[i];
        if (strlen(d->name) == bytes && memcmp(d->name, word, bytes) == 0)
            return i;
        if (bytes == 3 && memcmp(word, "cpu", 3) == 0 && d->available)
            best = i; /* the last form that runs is the best */
    }
    return best;
}

/* `form` becomes part of the name. */
static enum phy_status take(struct phy_audit *audit, const struct phy_device_info *device, const char *form)
{
    struct phy_audit_record *r = &audit->record;
    struct phy_device_info taken = *device;
    const size_t used = strlen(taken.name);
    snprintf(taken.name + used, sizeof taken.name - used, "%s", form);
    for (size_t i = 0; i < r->device_count; i++) {
        if (strcmp(r->devices[i].name, taken.name) == 0)
            return PHY_OK;
    }
    struct phy_device_info *grown = phy_realloc(r->devices, r->device_count + 1, sizeof *grown);
    if (!grown)
        return phy_fail_memory(audit->host, "the devices", sizeof *grown);
    r->devices = grown;
    grown[r->device_count++] = taken;
    return PHY_OK;
}

static enum phy_status take_vulkan(struct phy_audit *audit, const struct phy_device_list *list, const char *word,
                                   size_t bytes)
{
    struct phy_vulkan_spec spec;
    char form[PHY_VK_FORM_BYTES];
    size_t first = 0, index;
    while (first < list->count && list->devices[first].kind == PHY_DEVICE_CPU)
        first++;
    enum phy_status status = phy_vulkan_spec_read(&spec, word, bytes, audit->host);
    if (status == PHY_OK)
        status = phy_vulkan_spec_find(&index, &spec, list->devices + first, list->count - first, list->vulkan_note,
                                      audit->host);
    if (status != PHY_OK)
        return status;
    return take(audit, &list->devices[first + index], phy_vk_matmul_form(form, spec.tiles, spec.dots));
}

/* One word of --device: a device, or all of them. */
static enum phy_status take_word(struct phy_audit *audit, const struct phy_device_list *list, const char *word,
                                 size_t bytes)
{
    enum phy_status status = PHY_OK;
    if (phy_device_is_vulkan(word, bytes))
        return take_vulkan(audit, list, word, bytes);
    if (bytes == 3 && memcmp(word, "all", 3) == 0) {
        for (size_t i = 0; i < list->count && status == PHY_OK; i++)
            status = take(audit, &list->devices[i], "");
        return status;
    }
    const size_t index = find_cpu(list, word, bytes);
    return index < list->count ? take(audit, &list->devices[index], "")
                               : phy_fail(audit->host, PHY_ERR_USAGE, "device \"%.*s\": there is none of that name",
                                          (int)(bytes < 64 ? bytes : 64), word);
}

/* What Vulkan devices run, if one is audited. */
static enum phy_status take_shaders(struct phy_audit *audit)
{
    struct phy_audit_record *r = &audit->record;
    const char *name;
    uint64_t digest;
    bool vulkan = false;
    for (size_t i = 0; i < r->device_count; i++)
        vulkan |= r->devices[i].kind == PHY_DEVICE_VULKAN;
    for (size_t i = 0; vulkan && phy_vk_shader(i, &name, &digest); i++) {
        struct phy_audit_module *grown = phy_realloc(r->modules, r->module_count + 1, sizeof *grown);
        if (!grown)
            return phy_fail_memory(audit->host, "a list", sizeof *grown);
        r->modules = grown;
        grown[r->module_count].digest = digest;
        snprintf(grown[r->module_count++].name, sizeof grown->name, "%s", name);
    }
    return PHY_OK;
}

enum phy_status phy_audit_devices(struct phy_audit *audit)
{
    struct phy_device_list list;
    const char *spec = audit->params.device ? audit->params.device : "all";
    const bool vulkan = strstr(spec, "vulkan") || strstr(spec, "all");
    enum phy_status status = phy_devices_list_kinds(&list, vulkan, audit->host);
    for (const char *at = spec; status == PHY_OK && *at; at += *at == ',') {
        size_t bytes = strcspn(at, ",");
        status = take_word(audit, &list, at, bytes);
        at += bytes;
    }
    if (status == PHY_OK && !audit->record.device_count)
        status = phy_fail(audit->host, PHY_ERR_USAGE, "--device names no device");
    phy_device_list_free(&list);
    return status == PHY_OK ? take_shaders(audit) : status;
}
