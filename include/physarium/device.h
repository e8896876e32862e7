/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PHYSARIUM_DEVICE_H
#define PHYSARIUM_DEVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "host.h"
#include "status.h"

#ifdef __cplusplus
extern "C" {
#endif

enum phy_device_kind { PHY_DEVICE_CPU, PHY_DEVICE_VULKAN };

/* What is known of one device. Texts are UTF-8 without control characters. */
struct phy_device_info {
    char name[32]; /* what --device takes: "cpu:ref", "cpu:avx2", "vulkan:0" */
    enum phy_device_kind kind;
    bool available;                /* this machine can run it */
    bool self_tested;              /* the bit-exactness self-test was run */
    bool bit_exact;                /* and every bit agreed */
    char failed_operation[128];    /* the first operation that differed, with its operands; "" */
    char device_name[256];         /* "AMD EPYC", "llvmpipe (LLVM 15.0.6, 256 bits)" */
    char vendor[64];               /* "AMD", "NVIDIA", "Mesa" ..., or the PCI id in hex */
    char driver[256];              /* driver name and version; "" for the CPU */
    char api_version[32];          /* "1.3.230"; "" for the CPU */
    uint32_t vendor_id, device_id; /* PCI's, or what the driver says; 0 for the CPU */
    char type[16];                 /* "cpu", "discrete", "integrated", "virtual", "other" */
    /* Vulkan limits that matter; 0 for the CPU. */
    uint32_t subgroup_size, max_invocations, max_shared_bytes;
    uint64_t max_storage_range_bytes, memory_bytes;
    /* Forms of a model's products, as --device takes them after a slash: "rows lanes subgroup plain dot" of those that
     * it has, and "lanes+dot", which it uses by itself; "" for the CPU. */
    char forms[64], own_form[32];
    uint32_t threads; /* CPU: processors this process may use */
};

struct phy_device_list {
    struct phy_device_info *devices; /* CPU forms first, then Vulkan devices in the loader's order */
    size_t count;
    char vulkan_note[512]; /* why there is no Vulkan device and how to install one; "" if there are some */
};

/* Find every device and run its self-test. A machine without Vulkan is no error: the CPU is a device.
 *   PHY_ERR_MEMORY  host allocation failed
 * Thread-safety: any thread; one call at a time. */
PHY_API enum phy_status phy_devices_list(struct phy_device_list *out, const struct phy_host *host);
PHY_API void phy_device_list_free(struct phy_device_list *list);

#ifdef __cplusplus
}
#endif
#endif
