/* SPDX-License-Identifier: Apache-2.0 */
#include "device/device_set.h"

#include <string.h>

#include "base/alloc.h"
#include "base/log.h"
#include "cpu/cpu_backend.h"

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

enum phy_status phy_device_set_open(struct phy_device_set *out, const char *spec, uint32_t threads,
                                    const struct phy_host *host)
{
    *out = (struct phy_device_set){0};
    if (!spec || strcmp(spec, "cpu") == 0 || strncmp(spec, "cpu:", 4) == 0) {
        struct phy_backend *cpu;
        enum phy_status status = phy_cpu_backend_create(&cpu, spec && spec[3] ? spec + 4 : NULL, threads, host);
        return status == PHY_OK ? add_backend(out, cpu, host) : status;
    }
    return phy_fail(host, PHY_ERR_USAGE, "device \"%.64s\": not one of cpu[:FORM], vulkan[:N|:NAME], all", spec);
}

void phy_device_set_close(struct phy_device_set *set)
{
    for (size_t i = 0; i < set->count; i++)
        phy_backend_destroy(&set->backends[i]);
    phy_free(set->backends);
    *set = (struct phy_device_set){0};
}
