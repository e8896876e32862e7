/* SPDX-License-Identifier: Apache-2.0 */
#include "device/device_set.h"

#include <stdio.h>
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

/* ---- Vulkan devices by name ---- */

static bool contains_any_case(const char *text, const char *part, size_t bytes)
{
    for (; *text; text++) {
        if (strncasecmp(text, part, bytes) == 0)
            return true;
    }
    return false;
}

/* "rows, lanes, subgroup" */
static const char *join_names(char *out, size_t bytes, const char *const *names)
{
    size_t used = 0;
    for (size_t i = 0; names[i] && used < bytes; i++)
        used += (size_t)snprintf(out + used, bytes - used, "%s%s", i ? ", " : "", names[i]);
    return out;
}

static enum phy_status fail_form(const struct phy_vulkan_spec *spec, const struct phy_host *host)
{
    char tiles[128], dots[128];
    return phy_fail(host, PHY_ERR_USAGE,
                    "device \"%.*s\": a form is one of %s; or one of %s; or one of each with + between",
                    (int)(spec->bytes < 64 ? spec->bytes : 64), spec->text,
                    join_names(tiles, sizeof tiles, phy_vk_matmul_tile_names),
                    join_names(dots, sizeof dots, phy_vk_matmul_dot_names));
}

static const char *name_of(const char *const *names, const char *word, size_t bytes)
{
    while (*names && (strlen(*names) != bytes || memcmp(*names, word, bytes) != 0))
        names++;
    return *names;
}

/* Whether the text is names of forms with + between. *twice: of one kind there are two. */
static bool read_form(struct phy_vulkan_spec *out, const char *text, const char *end, bool *twice)
{
    for (const char *at = text;; at++) {
        const char *plus = memchr(at, '+', (size_t)(end - at)), *stop = plus ? plus : end;
        const char *tiles = name_of(phy_vk_matmul_tile_names, at, (size_t)(stop - at));
        const char *dots = tiles ? NULL : name_of(phy_vk_matmul_dot_names, at, (size_t)(stop - at));
        if (!tiles && !dots)
            return false;
        *twice |= tiles ? out->tiles != NULL : out->dots != NULL;
        out->tiles = tiles ? tiles : out->tiles;
        out->dots = dots ? dots : out->dots;
        if (stop == end)
            return true;
        at = stop;
    }
}

bool phy_device_is_vulkan(const char *spec, size_t bytes)
{
    return bytes >= 6 && memcmp(spec, "vulkan", 6) == 0 && (bytes == 6 || spec[6] == ':' || spec[6] == '/');
}

enum phy_status phy_vulkan_spec_read(struct phy_vulkan_spec *out, const char *spec, size_t bytes,
                                     const struct phy_host *host)
{
    const char *end = spec + bytes, *slash = end;
    bool twice = false;
    while (slash > spec && slash[-1] != '/')
        slash--; /* behind the last, if there is one */
    *out = (struct phy_vulkan_spec){.text = spec, .bytes = bytes};
    struct phy_vulkan_spec form = *out;
    if (slash > spec && read_form(&form, slash, end, &twice)) {
        *out = form;
        end = slash - 1;
    }
    if (twice || (end > spec + 6 && spec[6] == '/'))
        return fail_form(out, host);
    if (end > spec + 6) {
        out->device = spec + 7;
        out->device_bytes = (size_t)(end - out->device);
    }
    return PHY_OK;
}

/* Index of the device with that number or part of a name (NULL: the first that is not a CPU, else the first); count if
 * there is none. */
static size_t choose(const struct phy_device_info *devices, size_t count, const char *which, size_t bytes)
{
    if (!which) {
        for (size_t i = 0; i < count; i++) {
            if (strcmp(devices[i].type, "cpu") != 0)
                return i;
        }
        return 0;
    }
    if (bytes && strspn(which, "0123456789") >= bytes) {
        size_t index = 0;
        for (size_t i = 0; i < bytes && index < count; i++)
            index = index * 10 + (size_t)(which[i] - '0');
        return index < count ? index : count;
    }
    for (size_t i = 0; i < count; i++) {
        if (bytes && contains_any_case(devices[i].device_name, which, bytes))
            return i;
    }
    return count;
}

/* No device has the name: because what follows its last slash was to be a form? */
static bool seems_form(const struct phy_vulkan_spec *spec, const struct phy_device_info *devices, size_t count)
{
    size_t bytes = spec->device_bytes;
    while (bytes && spec->device[bytes - 1] != '/')
        bytes--;
    if (bytes < 2)
        return false;
    const bool number = strspn(spec->device, "0123456789") == bytes - 1;
    return number || choose(devices, count, spec->device, bytes - 1) < count;
}

enum phy_status phy_vulkan_spec_find(size_t *out, const struct phy_vulkan_spec *spec,
                                     const struct phy_device_info *devices, size_t count, const char *note,
                                     const struct phy_host *host)
{
    const int shown = (int)(spec->bytes < 64 ? spec->bytes : 64);
    *out = count ? choose(devices, count, spec->device, spec->device_bytes) : 0;
    if (*out < count)
        return PHY_OK;
    if (seems_form(spec, devices, count))
        return fail_form(spec, host);
    if (count == 0)
        return phy_fail(host, PHY_ERR_DEVICE, "device %.*s: %s", shown, spec->text, note);
    return phy_fail(host, PHY_ERR_DEVICE, "device %.*s: none of the %zu Vulkan devices; physarium devices lists them",
                    shown, spec->text, count);
}

enum phy_status phy_device_find_vulkan(uint32_t *out, struct phy_vulkan_spec *read, const char *spec,
                                       const struct phy_host *host)
{
    struct phy_device_info *devices;
    size_t count, index;
    char note[PHY_VK_NOTE_BYTES];
    enum phy_status status = phy_vulkan_spec_read(read, spec, strlen(spec), host);
    if (status == PHY_OK)
        status = phy_vk_list(&devices, &count, note, host);
    if (status)
        return status;
    status = phy_vulkan_spec_find(&index, read, devices, count, note, host);
    phy_free(devices);
    *out = (uint32_t)index;
    return status;
}

/* ---- backends of the flow ---- */

static enum phy_status open_vulkan(struct phy_device_set *set, const char *spec, const struct phy_host *host)
{
    uint32_t index;
    struct phy_vulkan_spec read;
    enum phy_status status = phy_vulkan_spec_read(&read, spec, strlen(spec), host);
    if (status == PHY_OK && (read.tiles || read.dots))
        return phy_fail(host, PHY_ERR_USAGE, "device \"%.64s\": %s, and the flow has none; leave it out", spec,
                        "a form after a slash says how matrices are multiplied");
    if (status == PHY_OK)
        status = phy_device_find_vulkan(&index, &read, spec, host);
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

enum phy_status phy_device_set_open(struct phy_device_set *out, const char *spec, uint32_t threads,
                                    const struct phy_host *host)
{
    *out = (struct phy_device_set){0};
    enum phy_status status;
    if (!spec || strcmp(spec, "cpu") == 0)
        status = add_cpu(out, NULL, threads, host);
    else if (starts_with(spec, "cpu:"))
        status = add_cpu(out, spec + 4, threads, host);
    else if (phy_device_is_vulkan(spec, strlen(spec)))
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
    if (!phy_device_is_vulkan(spec, strlen(spec)))
        return phy_fail(host, PHY_ERR_USAGE,
                        "device \"%.64s\": a model runs on one of cpu[:FORM], vulkan[:N|:NAME][/FORM]", spec);
    uint32_t index;
    struct phy_vulkan_spec read;
    enum phy_status status = phy_device_find_vulkan(&index, &read, spec, host);
    const struct phy_vk_matmul_options options = {.tiles = read.tiles, .dots = read.dots, .tune = tune};
    return status == PHY_OK ? phy_vk_matmul_create(out, index, &options, host) : status;
}
