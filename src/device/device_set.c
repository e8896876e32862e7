/* SPDX-License-Identifier: Apache-2.0 */
#include "device/device_set.h"

#include <string.h>
#include <strings.h>

#include "base/alloc.h"
#include "base/log.h"
#include "cpu/cpu_backend.h"
#include "cpu/cpu_matmul.h"
#include "vk/vk_backend.h"
#include "vk/vk_matmul.h"

static enum phy_status add_backend(struct phy_device_set *set, struct phy_backend *backend, const struct phy_host *host)
{
    struct phy_backend **grown = phy_realloc(set->backends, set->count + 1, sizeof *grown);
    if (!grown) {
        phy_backend_destroy(&backend);
        return phy_fail_memory(host, "a list of devices", (set->count + 1) * sizeof *grown);
    }
    set->backends = grown;
    grown[set->count++] = backend;
    return PHY_OK;
}

static enum phy_status add_cpu(struct phy_device_set *set, const char *form, uint32_t threads,
                               const struct phy_host *host)
{
    struct phy_backend *cpu;
    enum phy_status status = phy_cpu_backend_create(&cpu, form, threads, host);
    return status == PHY_OK ? add_backend(set, cpu, host) : status;
}

static enum phy_status add_vulkan(struct phy_device_set *set, uint32_t index, bool optional,
                                  const struct phy_host *host)
{
    struct phy_backend *backend;
    const struct phy_vk_options options = {.optional = optional};
    enum phy_status status = phy_vk_backend_create(&backend, index, &options, NULL, host);
    if (status == PHY_OK)
        return add_backend(set, backend, host);
    return optional && status == PHY_ERR_DEVICE ? PHY_OK : status;
}

static bool contains_any_case(const char *text, const char *part)
{
    size_t length = strlen(part);
    for (; *text; text++) {
        if (strncasecmp(text, part, length) == 0)
            return true;
    }
    return false;
}

/* Index of the device that `which` names (NULL: the first that is not a CPU, else the first); count if there is none.
 */
static size_t choose(const struct phy_device_info *devices, size_t count, const char *which)
{
    if (!which) {
        for (size_t i = 0; i < count; i++) {
            if (strcmp(devices[i].type, "cpu") != 0)
                return i;
        }
        return 0;
    }
    if (*which && strspn(which, "0123456789") == strlen(which)) {
        size_t index = 0;
        for (; *which && index < count; which++)
            index = index * 10 + (size_t)(*which - '0');
        return index < count ? index : count;
    }
    for (size_t i = 0; i < count; i++) {
        if (*which && contains_any_case(devices[i].device_name, which))
            return i;
    }
    return count;
}

enum phy_status phy_device_find_vulkan(uint32_t *out, const char *spec, const struct phy_host *host)
{
    struct phy_device_info *devices;
    size_t count;
    char note[PHY_VK_NOTE_BYTES];
    enum phy_status status = phy_vk_list(&devices, &count, note, host);
    if (status)
        return status;
    if (count == 0)
        return phy_fail(host, PHY_ERR_DEVICE, "device %.64s: %s", spec, note);
    size_t index = choose(devices, count, spec[6] == ':' ? spec + 7 : NULL);
    phy_free(devices);
    if (index == count)
        return phy_fail(host, PHY_ERR_DEVICE,
                        "device %.64s: none of the %zu Vulkan devices; physarium devices lists them", spec, count);
    *out = (uint32_t)index;
    return PHY_OK;
}

static enum phy_status open_vulkan(struct phy_device_set *set, const char *spec, const struct phy_host *host)
{
    uint32_t index;
    enum phy_status status = phy_device_find_vulkan(&index, spec, host);
    return status == PHY_OK ? add_vulkan(set, index, false, host) : status;
}

/* A device that is missing or not bit-exact is left out, with a warning: the CPU can do its share. */
static enum phy_status open_all(struct phy_device_set *set, uint32_t threads, const struct phy_host *host)
{
    struct phy_device_info *devices;
    size_t count;
    char note[PHY_VK_NOTE_BYTES];
    enum phy_status status = add_cpu(set, NULL, threads, host);
    if (status == PHY_OK)
        status = phy_vk_list(&devices, &count, note, host);
    if (status)
        return status;
    if (count == 0)
        phy_warn(host, "device all: only the CPU: %s", note);
    for (size_t i = 0; i < count && status == PHY_OK; i++)
        status = add_vulkan(set, (uint32_t)i, true, host);
    phy_free(devices);
    return status;
}

static bool starts_with(const char *text, const char *start)
{
    return strncmp(text, start, strlen(start)) == 0;
}

static bool is_vulkan(const char *spec)
{
    return strcmp(spec, "vulkan") == 0 || starts_with(spec, "vulkan:");
}

enum phy_status phy_device_set_open(struct phy_device_set *out, const char *spec, uint32_t threads,
                                    const struct phy_host *host)
{
    *out = (struct phy_device_set){0};
    enum phy_status status;
    if (!spec || strcmp(spec, "cpu") == 0)
        status = add_cpu(out, NULL, threads, host);
    else if (starts_with(spec, "cpu:"))
        status = add_cpu(out, spec + 4, threads, host);
    else if (is_vulkan(spec))
        status = open_vulkan(out, spec, host);
    else if (strcmp(spec, "all") == 0)
        status = open_all(out, threads, host);
    else
        status = phy_fail(host, PHY_ERR_USAGE, "device \"%.64s\": not one of cpu[:FORM], vulkan[:N|:NAME], all", spec);
    if (status)
        phy_device_set_close(out);
    return status;
}

void phy_device_set_close(struct phy_device_set *set)
{
    for (size_t i = 0; i < set->count; i++)
        phy_backend_destroy(&set->backends[i]);
    phy_free(set->backends);
    *set = (struct phy_device_set){0};
}

enum phy_status phy_matmul_backend_open(struct phy_matmul_backend **out, const char *spec, bool tune,
                                        struct phy_pool *pool, const struct phy_host *host)
{
    *out = NULL;
    if (!spec || strcmp(spec, "cpu") == 0)
        return phy_cpu_matmul_create(out, NULL, pool, host);
    if (starts_with(spec, "cpu:"))
        return phy_cpu_matmul_create(out, spec + 4, pool, host);
    if (!is_vulkan(spec))
        return phy_fail(host, PHY_ERR_USAGE, "device \"%.64s\": a model runs on one of cpu[:FORM], vulkan[:N|:NAME]",
                        spec);
    uint32_t index;
    enum phy_status status = phy_device_find_vulkan(&index, spec, host);
    return status == PHY_OK ? phy_vk_matmul_create(out, index, &(struct phy_vk_matmul_options){.tune = tune}, host)
                            : status;
}
