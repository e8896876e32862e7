/* SPDX-License-Identifier: Apache-2.0 */
/* A Vulkan device's rooflines: small shaders that only move memory or only multiply, timed by the device's own clock.
 */
#ifndef PHY_VK_VK_PROBE_H
#define PHY_VK_VK_PROBE_H

#include <stdbool.h>
#include <stdint.h>

#include "physarium/host.h"
#include "physarium/status.h"

enum phy_vk_probe_kernel {
    PHY_PROBE_READ,      /* neighbours read neighbours: GPUs like it */
    PHY_PROBE_READ_ROWS, /* each invocation reads a row of its own: drivers on a CPU like it */
    PHY_PROBE_WRITE,
    PHY_PROBE_WRITE_ROWS,
    PHY_PROBE_COPY,
    PHY_PROBE_COPY_ROWS,
    PHY_PROBE_F32,
    PHY_PROBE_F16,
    PHY_PROBE_I8,
    PHY_PROBE_MATRIX, /* cooperative matrices of binary16, sums in binary32 */
    PHY_PROBE_KERNELS
};

struct phy_vk_probe_info {
    char name[32], device_name[256], driver[256], api_version[32], type[16];
    uint32_t vendor_id, device_id, driver_version;
    uint32_t clock_bits; /* timestampValidBits of the queue; 0: it has no clock, and the host's is taken */
    double tick_ns;      /* timestampPeriod */
    uint64_t memory_bytes;
    bool float16, integer_dot_product;
    uint32_t matrix_m, matrix_n, matrix_k; /* of cooperative matrices; 0: none */
};

struct phy_vk_probe;

/* Open device `index` of phy_vk_list with `bytes` to move (rounded to whole workgroups; it may get fewer). The host
 * must outlive the probe.
 *   PHY_ERR_DEVICE  no loader, driver or such device; lost
 *   PHY_ERR_MEMORY  host or device allocation failed */
enum phy_status phy_vk_probe_open(struct phy_vk_probe **out, uint32_t index, uint64_t bytes,
                                  const struct phy_host *host);
void phy_vk_probe_close(struct phy_vk_probe **probe);
const struct phy_vk_probe_info *phy_vk_probe_describe(const struct phy_vk_probe *probe);
/* Bytes there are to move, and that one invocation moves. */
uint64_t phy_vk_probe_bytes(const struct phy_vk_probe *probe);
bool phy_vk_probe_offers(const struct phy_vk_probe *probe, enum phy_vk_probe_kernel kernel);

/* One dispatch. A memory kernel moves the first `bytes` (at most phy_vk_probe_bytes, whole workgroups); an arithmetic
 * one has phy_vk_probe_invocations invocations that do `rounds` rounds. *ns: by the device's clock, or by the host's
 * where there is none or it wrapped. *result is the sum of the invocations' words, of what was read or counted;
 * may be NULL, which saves reading them back. */
enum phy_status phy_vk_probe_run(struct phy_vk_probe *probe, enum phy_vk_probe_kernel kernel, uint64_t bytes,
                                 uint32_t rounds, uint32_t one, double *ns, uint32_t *result);
uint64_t phy_vk_probe_unit_bytes(void);
uint32_t phy_vk_probe_invocations(const struct phy_vk_probe *probe);
/* Multiply-adds of a round of one invocation: of int8 products, four for each dot product. */
uint32_t phy_vk_probe_products(const struct phy_vk_probe *probe, enum phy_vk_probe_kernel kernel);

#endif
