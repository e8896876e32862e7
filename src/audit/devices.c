/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "audit/audit_parts.h"
#include "base/alloc.h"
#include "base/log.h"
#include "device/device_set.h"
#include "vk/vk_backend.h"

const struct phy_activation_variant *phy_audit_activation(const char *device)
{
    struct phy_cpu_features have = phy_cpu_detect();
    return phy_activation_variant_named(strncmp(device, "cpu:", 4) == 0 ? device + 4
                                                                        : phy_matmul_variant_best(&have)->name);
}

static bool holds(const char *text, const char *part, size_t bytes)
{
    for (; strlen(text) >= bytes; text++) {
        if (strncasecmp(text, part, bytes) == 0)
            return true;
    }
    return false;
}

/* What one word of --device names; SIZE_MAX: every device, `count`: none. */
static size_t find(const struct phy_device_list *list, const char *word, size_t bytes)
{
    size_t best = list->count;
    for (size_t i = 0; i < list->count; i++) {
        const struct phy_device_info *d = &list->devices[i];
        const bool vulkan = d->kind == PHY_DEVICE_VULKAN;
        if (strlen(d->name) == bytes && memcmp(d->name, word, bytes) == 0)
            return i;
        if (bytes == 3 && memcmp(word, "cpu", 3) == 0 && !vulkan && d->available)
            best = i; /* the last form that runs is the best */
        if (bytes == 6 && memcmp(word, "vulkan", 6) == 0 && vulkan &&
            (best == list->count || (strcmp(list->devices[best].type, "cpu") == 0 && strcmp(d->type, "cpu") != 0)))
            best = i;
        if (bytes > 7 && memcmp(word, "vulkan:", 7) == 0 && vulkan && best == list->count &&
            holds(d->device_name, word + 7, bytes - 7))
            best = i;
    }
    return best;
}

static enum phy_status take(struct phy_audit *audit, const struct phy_device_list *list, size_t index)
{
    struct phy_audit_record *r = &audit->record;
    for (size_t i = 0; i < r->device_count; i++) {
        if (strcmp(r->devices[i].name, list->devices[index].name) == 0)
            return PHY_OK;
    }
    struct phy_device_info *grown = phy_realloc(r->devices, r->device_count + 1, sizeof *grown);
    if (!grown)
        return phy_fail_memory(audit->host, "the devices", sizeof *grown);
    r->devices = grown;
    grown[r->device_count++] = list->devices[index];
    return PHY_OK;
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
        if (bytes == 3 && memcmp(at, "all", 3) == 0) {
            for (size_t i = 0; i < list.count && status == PHY_OK; i++)
                status = take(audit, &list, i);
        } else {
            size_t index = find(&list, at, bytes);
            if (index < list.count)
                status = take(audit, &list, index);
            else
                status = phy_fail(audit->host, PHY_ERR_USAGE, "device \"%.*s\": there is none of that name%s%.300s",
                                  (int)(bytes < 64 ? bytes : 64), at, *list.vulkan_note ? "; " : "", list.vulkan_note);
        }
        at += bytes;
    }
    if (status == PHY_OK && !audit->record.device_count)
        status = phy_fail(audit->host, PHY_ERR_USAGE, "--device names no device");
    phy_device_list_free(&list);
    return status == PHY_OK ? take_shaders(audit) : status;
}
