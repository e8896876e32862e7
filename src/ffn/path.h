/* SPDX-License-Identifier: Apache-2.0 */
/* A path as the audit sees it: what it should run, and what ran. */
#ifndef PHY_FFN_PATH_H
#define PHY_FFN_PATH_H

#include "backend/matmul_backend.h"
#include "ffn/store_scheme.h"
#include "model/ffn.h"
#include "physarium/ffn.h"

/* One row of docs/ffn.md's table. */
struct phy_path_kind {
    const char *name;   /* "interleaved_q4k:fused" */
    const char *bucket; /* "exact", "quantised", "fp4" */
};
/* NULL if there is none of that name. */
const struct phy_path_kind *phy_path_kind_named(const char *name);
/* Whether some device may run a path on stores of that scheme and layout, of a model without biases; false: why not. */
bool phy_path_made_of(const struct phy_store_scheme *scheme, enum phy_store_layout layout, char *reason, size_t bytes);

/* A device that paths use one after another: opened once, and what it compiled is kept. Of one model; it outlives its
 * paths. Failures are logged by `host`, which need not outlive the call. */
struct phy_path_device;
enum phy_status phy_path_device_open(struct phy_path_device **out, const char *device, struct phy_model *model,
                                     const struct phy_host *host);
/* Accepts a pointer to NULL; sets it to NULL. */
void phy_path_device_close(struct phy_path_device **device);
/* phy_ffn_create on it, whatever params->device and params->tune. One path at a time. */
enum phy_status phy_ffn_create_on(struct phy_ffn **out, struct phy_model *model, const struct phy_ffn_params *params,
                                  struct phy_path_device *device);
/* Whether phy_ffn_create_on could make this path of that store (or NULL: the model's matrices), without making it.
 * False: `reason` (of `bytes`) says in a sentence why not. */
bool phy_path_offered_on(const char *name, struct phy_model *model, const struct phy_ffn_store *store,
                         const struct phy_path_device *device, char *reason, size_t bytes);

/* What one forward call of one layer ran, from the kernels' own reports (phy_kernel_observer), not from what was asked.
 */
struct phy_path_step {
    uint32_t layer;
    size_t count;       /* rows of x */
    const char *path;   /* which row of the table that amounts to; NULL: none, kernels that no path is made of */
    char kernels[96];   /* "fused q4_K avx512, fused q6_K avx512"; "" if none reported anything */
    const char *device; /* on which it ran */
};
typedef void phy_path_tracer(void *user, const struct phy_path_step *step);
/* One tracer of a path, called after each forward; NULL: nobody listens. */
void phy_ffn_trace(struct phy_ffn *ffn, phy_path_tracer *tracer, void *user);

/* Test seam: weights, kernels and routes that lie, to show that the audit sees it. Any member may be NULL. */
struct phy_path_seam {
    /* After each layer's y (count, hidden) was computed; may change it. */
    void (*tamper)(void *user, uint32_t layer, size_t count, size_t hidden, float *y);
    /* May answer another path's name: the router then takes that one, whatever the mask. */
    const char *(*reroute)(void *user, uint32_t layer, const char *path);
    void *user;
    /* May compute y (count, hidden) itself and answer true: no kernel runs then, so that the trace names no path. */
    bool (*replace)(void *user, uint32_t layer, const float *x, size_t count, size_t hidden, float *y);
};
/* NULL: none. The seam must outlive the path or the next call. */
void phy_ffn_set_seam(struct phy_ffn *ffn, const struct phy_path_seam *seam);

#endif
