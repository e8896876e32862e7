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
 *   PHY_ERR_USAGE   the text is none of these, or has a form of products
 *   PHY_ERR_DEVICE  no such device, no driver, or a device that is not bit-exact: the log says which operation differed
 *   PHY_ERR_MEMORY  host or device allocation failed
 * On failure *out is empty. */
enum phy_status phy_device_set_open(struct phy_device_set *out, const char *spec, uint32_t threads,
                                    const struct phy_host *host);
void phy_device_set_close(struct phy_device_set *set);

/* ---- Vulkan devices by name ---- */

/* "vulkan[:N|:NAME][/FORM]". FORM is one of phy_vk_matmul_tile_names, or one of phy_vk_matmul_dot_names, or one of
 * either with + between. A slash is NAME's unless all that follows the last one is such names. */
struct phy_vulkan_spec {
    const char *text; /* (bytes) all of it, the caller's */
    size_t bytes;
    const char *device; /* (device_bytes) N or NAME, in `text`; NULL: neither */
    size_t device_bytes;
    const char *tiles, *dots; /* static; NULL: as the device chooses */
};
/* Whether the text is of that kind, with a FORM that there is or not. */
bool phy_device_is_vulkan(const char *spec, size_t bytes);
/* Take it apart, without a look at any device. PHY_ERR_USAGE: two forms of a kind, or one there is not. */
enum phy_status phy_vulkan_spec_read(struct phy_vulkan_spec *out, const char *spec, size_t bytes,
                                     const struct phy_host *host);
/* The index of the device meant, of those that phy_vk_list gave with its note.
 *   PHY_ERR_USAGE   none has that name, but one would without what follows the slash: the log names the forms
 *   PHY_ERR_DEVICE  none has that name */
enum phy_status phy_vulkan_spec_find(size_t *out, const struct phy_vulkan_spec *spec,
                                     const struct phy_device_info *devices, size_t count, const char *note,
                                     const struct phy_host *host);
/* All of these: the index in phy_vk_list. */
enum phy_status phy_device_find_vulkan(uint32_t *out, struct phy_vulkan_spec *read, const char *spec,
                                       const struct phy_host *host);

/* ---- lists and models ---- */

/* phy_devices_list, or its CPU forms alone: opening Vulkan drivers takes a while. */
enum phy_status phy_devices_list_kinds(struct phy_device_list *out, bool with_vulkan, const struct phy_host *host);

struct phy_matmul_backend;
struct phy_pool;

/* Open one device for a model's products: "cpu", "cpu:ref", "cpu:avx2", "cpu:avx512", or a Vulkan device, named as
 * above and with a form or without; NULL is "cpu". The pool does the CPU's work: the caller's, it outlives the backend.
 * With `tune` a Vulkan device chooses its tiles by a short measured sweep, which changes no bit. Statuses as above, and
 *   PHY_ERR_UNSUPPORTED  the device has no such form */
enum phy_status phy_matmul_backend_open(struct phy_matmul_backend **out, const char *spec, bool tune,
                                        struct phy_pool *pool, const struct phy_host *host);

#endif
