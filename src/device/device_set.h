/* SPDX-License-Identifier: Apache-2.0 */
/* What --device names, as open backends. */
#ifndef PHY_DEVICE_DEVICE_SET_H
#define PHY_DEVICE_DEVICE_SET_H

#include "backend/backend.h"
#include "physarium/device.h"

struct phy_device_set {
    struct phy_backend **backends;
    size_t count; /* >= 1 */
};

/* Open the devices that `spec` names: "cpu", "cpu:ref", "cpu:avx2", "cpu:avx512", "vulkan" (the first device that is
 * not a CPU, else the first), "vulkan:N", "vulkan:NAME" (part of the device's name, any case), "all" (the CPU and every
 * Vulkan device). NULL is "cpu". Every device passes its self-test first. threads: CPU threads, 0 for all processors.
 *   PHY_ERR_USAGE   the text is none of these
 *   PHY_ERR_DEVICE  no such device, no driver, or a device that is not bit-exact: the log says which operation differed
 *   PHY_ERR_MEMORY  host or device allocation failed
 * On failure *out is empty. */
enum phy_status phy_device_set_open(struct phy_device_set *out, const char *spec, uint32_t threads,
                                    const struct phy_host *host);
void phy_device_set_close(struct phy_device_set *set);

/* The index in phy_vk_list of the device that "vulkan", "vulkan:N" or "vulkan:NAME" names. */
enum phy_status phy_device_find_vulkan(uint32_t *out, const char *spec, const struct phy_host *host);

/* phy_devices_list, or its CPU forms alone: opening Vulkan drivers takes a while. */
enum phy_status phy_devices_list_kinds(struct phy_device_list *out, bool with_vulkan, const struct phy_host *host);

struct phy_matmul_backend;
struct phy_pool;

/* Open one device for a model's products: "cpu", "cpu:ref", "cpu:avx2", "cpu:avx512", or a Vulkan device, named as
 * above; NULL is "cpu". The pool does the CPU's work: the caller's, it outlives the backend. With `tune` a
 * Vulkan device chooses its tiles by a short measured sweep, which changes no bit. Statuses as above. */
enum phy_status phy_matmul_backend_open(struct phy_matmul_backend **out, const char *spec, bool tune,
                                        struct phy_pool *pool, const struct phy_host *host);

#endif
