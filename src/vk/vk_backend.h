/* SPDX-License-Identifier: Apache-2.0 */
/* Vulkan devices as backends. The loader is opened at run time: everything here works, and says so, without one. */
#ifndef PHY_VK_VK_BACKEND_H
#define PHY_VK_VK_BACKEND_H

#include "backend/backend.h"
#include "physarium/device.h"

enum { PHY_VK_NOTE_BYTES = 512, PHY_VK_FAILED_BYTES = 128 };

/* The devices, in the loader's order, without running anything on them. `name` is "vulkan:N" for index N; self_tested
 * and bit_exact are false. *out is the caller's: phy_free. When there is none, *out is NULL, *count 0 and `note` says
 * why and what to install.
 *   PHY_ERR_MEMORY  host allocation failed */
enum phy_status phy_vk_list(struct phy_device_info **out, size_t *count, char note[PHY_VK_NOTE_BYTES],
                            const struct phy_host *host);

struct phy_vk_options {
    const char *shape;          /* one of phy_vk_shape_names, weights of one invocation; NULL picks by the device */
    bool staging;               /* upload through a staging buffer even where the host can write the device's memory */
    uint64_t max_piece_weights; /* cut regions into pieces of at most this many, but one tile; 0 picks by the device */
    bool optional;              /* a device that cannot be opened is a warning, not the error of the call */
};

/* Open device `index` of phy_vk_list and run its self-test. options may be NULL. `failed` (PHY_VK_FAILED_BYTES, or
 * NULL) receives the operation that differed, or "". host must outlive the backend: what goes wrong later is a warning
 * there, and the status of the call.
 *
 *   PHY_ERR_DEVICE  no loader, driver or such device; lost; below the shader's limits; not bit-exact
 *   PHY_ERR_MEMORY  host or device allocation failed
 *   PHY_ERR_USAGE   no shape of that name, or the device cannot run it */
enum phy_status phy_vk_backend_create(struct phy_backend **out, uint32_t index, const struct phy_vk_options *options,
                                      char *failed, const struct phy_host *host);

/* What the device's own clock said: nanoseconds in the shader so far, and the dispatches it took; 0 without a clock. */
void phy_vk_backend_device_time(const struct phy_backend *backend, uint64_t *compute_ns, uint64_t *dispatches);

/* NULL ends. */
extern const char *const phy_vk_shape_names[];

/* True if the environment asks for the validation layer (PHY_VK_VALIDATE=1). */
bool phy_vk_validation_asked(void);
/* True if the layer is installed. */
bool phy_vk_validation_available(void);
/* Messages of the validation layer so far in this process: each was logged as an error. */
unsigned phy_vk_validation_messages(void);

/* Shader `index` of products, as the build made it: its name and a digest of its SPIR-V. False: there are no more. */
bool phy_vk_shader(size_t index, const char **name, uint64_t *digest);

/* Test seam: the submission after `after` more successful ones, and every later one in the process, reports a lost
 * device; UINT64_MAX turns it off. */
void phy_vk_lose_device_after(uint64_t after);
/* Test seam: later self-tests see the lowest bit of this word of an operation's outcome flipped; UINT32_MAX turns it
 * off. */
void phy_vk_spoil_outcome(uint32_t word);

#endif
