/* SPDX-License-Identifier: Apache-2.0 */
#include <cjson/cJSON.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "physarium/physarium.h"

static const char *verdict(const struct phy_device_info *d)
{
    if (!d->available)
        return d->kind == PHY_DEVICE_CPU ? "not on this processor" : "cannot be used";
    if (!d->self_tested)
        return "not tested";
    return d->bit_exact ? "bit-exact" : "REFUSED, not bit-exact";
}

static void print_bytes(const char *label, uint64_t bytes)
{
    if (bytes >= UINT64_C(1) << 30)
        printf(", %s %.1f GiB", label, (double)bytes / (1 << 30));
    else if (bytes >= 1 << 20)
        printf(", %s %.0f MiB", label, (double)bytes / (1 << 20));
    else
        printf(", %s %.0f KiB", label, (double)bytes / (1 << 10));
}

static void print_device(const struct phy_device_info *d)
{
    printf("%-11s %-22s %s (%s, %s)\n", d->name, verdict(d), d->device_name, d->vendor, d->type);
    if (d->self_tested && !d->bit_exact)
        printf("%11s self-test differs in %s\n", "", d->failed_operation);
    if (d->kind != PHY_DEVICE_VULKAN)
        return;
    printf("%11s Vulkan %s, %s\n", "", d->api_version, d->driver);
    printf("%11s subgroups of %u, workgroups of %u", "", d->subgroup_size, d->max_invocations);
    print_bytes("shared memory", d->max_shared_bytes);
    print_bytes("buffers of", d->max_storage_range_bytes);
    print_bytes("memory", d->memory_bytes);
    printf("\n%11s forms of products: %s; its own: %s\n", "", d->forms, d->own_form);
}

static bool put_forms(cJSON *device, const char *forms)
{
    cJSON *array = cJSON_AddArrayToObject(device, "forms");
    bool ok = array != NULL;
    while (ok && *forms) {
        char name[32];
        const size_t length = strcspn(forms, " ");
        snprintf(name, sizeof name, "%.*s", (int)length, forms);
        cJSON *item = cJSON_CreateString(name);
        ok = item && cJSON_AddItemToArray(array, item);
        if (!ok)
            cJSON_Delete(item);
        forms += length + (forms[length] == ' ');
    }
    return ok;
}

static bool put_device(cJSON *array, const struct phy_device_info *d)
{
    cJSON *o = cJSON_CreateObject();
    if (!o || !cJSON_AddItemToArray(array, o)) {
        cJSON_Delete(o);
        return false;
    }
    bool vulkan = d->kind == PHY_DEVICE_VULKAN;
    bool ok = cJSON_AddStringToObject(o, "name", d->name) &&
              cJSON_AddStringToObject(o, "kind", vulkan ? "vulkan" : "cpu") &&
              cJSON_AddBoolToObject(o, "available", d->available) &&
              cJSON_AddBoolToObject(o, "self_tested", d->self_tested) &&
              cJSON_AddBoolToObject(o, "bit_exact", d->bit_exact) &&
              (d->failed_operation[0] ? cJSON_AddStringToObject(o, "failed_operation", d->failed_operation)
                                      : cJSON_AddNullToObject(o, "failed_operation")) &&
              cJSON_AddStringToObject(o, "device", d->device_name) && cJSON_AddStringToObject(o, "vendor", d->vendor) &&
              cJSON_AddStringToObject(o, "type", d->type);
    if (!ok || !vulkan)
        return ok && cJSON_AddNumberToObject(o, "threads", d->threads);
    return cJSON_AddStringToObject(o, "driver", d->driver) &&
           cJSON_AddStringToObject(o, "api_version", d->api_version) &&
           cJSON_AddNumberToObject(o, "subgroup_size", d->subgroup_size) &&
           cJSON_AddNumberToObject(o, "max_invocations", d->max_invocations) &&
           cJSON_AddNumberToObject(o, "max_shared_bytes", d->max_shared_bytes) &&
           cJSON_AddNumberToObject(o, "max_storage_range_bytes", (double)d->max_storage_range_bytes) &&
           cJSON_AddNumberToObject(o, "memory_bytes", (double)d->memory_bytes) && put_forms(o, d->forms) &&
           cJSON_AddStringToObject(o, "own_form", d->own_form);
}

/* False when out of memory. */
static bool print_json(const struct phy_device_list *list)
{
    cJSON *root = cJSON_CreateObject(), *array = root ? cJSON_AddArrayToObject(root, "devices") : NULL;
    bool ok = array != NULL;
    for (size_t i = 0; ok && i < list->count; i++)
        ok = put_device(array, &list->devices[i]);
    ok = ok && (list->vulkan_note[0] ? cJSON_AddStringToObject(root, "vulkan_note", list->vulkan_note)
                                     : cJSON_AddNullToObject(root, "vulkan_note"));
    char *text = ok ? cJSON_PrintUnformatted(root) : NULL;
    if (text)
        printf("%s\n", text);
    ok = text != NULL;
    free(text);
    cJSON_Delete(root);
    return ok;
}

static void print_table(const struct phy_device_list *list)
{
    for (size_t i = 0; i < list->count; i++)
        print_device(&list->devices[i]);
    if (list->vulkan_note[0])
        printf("Vulkan: %s\n", list->vulkan_note);
}

static int run_devices(int argc, char **argv)
{
    const struct phy_option options[] = {{.name = NULL}};
    struct phy_common_options common = {0};
    const char *positional[1];
    size_t count;
    int code;
    if (!phy_parse_options(&cmd_devices, argc, argv, options, &common, positional, 0, &count, &code))
        return code;
    struct phy_terminal terminal;
    struct phy_device_list list;
    phy_terminal_open(&terminal, common.quiet);
    enum phy_status status = phy_devices_list(&list, &terminal.host);
    phy_terminal_close(&terminal);
    if (status)
        return phy_status_exit_code(status);
    code = 0;
    if (!common.json) {
        print_table(&list);
    } else if (!print_json(&list)) {
        fputs("physarium devices: out of memory for the result\n", stderr);
        code = 6;
    }
    phy_device_list_free(&list);
    return phy_finish_stdout(code);
}

const struct phy_command cmd_devices = {
    .name = "devices",
    .run = run_devices,
    .summary = "list the devices that can do the work, and test them",
    .help =
        "usage: physarium devices [--json]\n"
        "\n"
        "Lists every form of the CPU's kernels and every Vulkan device, by the name that --device takes, with its\n"
        "driver and the limits that matter, and runs each device's self-test: a device is used only if every bit of\n"
        "its arithmetic is right. \"vulkan\" alone names the first Vulkan device that is not a CPU, else the first.\n"
        "Behind a slash --device takes forms of a model's products, vulkan:0/subgroup+dot, of those that are listed.\n"
        "\n"
        "  --json             print {\"devices\":[{\"name\":\"cpu:ref\",\"kind\":\"cpu\",\"available\":true, ...}]}\n"
        "  -q, --quiet        no notes on stderr\n"
        "\n"
        "A machine without Vulkan is no error; a sentence says how to install it.\n"
        "PHY_VK_VALIDATE=1 in the environment runs Vulkan under its validation layer, where that is installed.\n",
};
