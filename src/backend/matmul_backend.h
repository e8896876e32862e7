/* SPDX-License-Identifier: Apache-2.0 */
/* What a device must do for a model: its weight matrices times rows of float32 activations, under the contract of
 * kernels/matmul.h. A table of typed function pointers. */
#ifndef PHY_BACKEND_MATMUL_BACKEND_H
#define PHY_BACKEND_MATMUL_BACKEND_H

#include <stddef.h>
#include <stdint.h>

#include "kernels/activation.h"
#include "kernels/matmul.h"
#include "physarium/host.h"
#include "physarium/status.h"

/* A stored matrix. Its data outlives the backend; a device with memory of its own reads it once, in load. */
struct phy_weights {
    const void *data; /* (rows, cols) row-major, dense */
    enum phy_weight_type type;
    size_t rows, cols;
    uint32_t index; /* the backend's own, set by load */
};

/* y (count, rows) = x w^T, plus bias (rows) in every row unless it is NULL. */
struct phy_product {
    const struct phy_weights *w;
    float *y;
    const float *bias;
};

/* y (count, hidden) = down( act(gate x) * (up x) ). */
struct phy_ffn_product {
    const struct phy_weights *gate, *up, *down;
    enum phy_activation activation;
    const float *x; /* (count, hidden) */
    size_t count;
    float *gated; /* (count, intermediate): receives the input of down; or NULL */
    float *y;
};

struct phy_matmul_backend;

/* One call at a time. What fails logs one sentence; y is then worthless.
 *   PHY_ERR_DEVICE  device lost, or its products are wrong
 *   PHY_ERR_MEMORY  host or device allocation failed */
struct phy_matmul_backend_ops {
    /* Once, before any product: take over these matrices and set their index. */
    enum phy_status (*load)(struct phy_matmul_backend *backend, struct phy_weights *const *matrices, size_t count);
    /* All products of the same x (count, cols); count >= 1. */
    enum phy_status (*multiply)(struct phy_matmul_backend *backend, const struct phy_product *products,
                                size_t product_count, const float *x, size_t count);
    /* A whole layer without leaving the device. NULL: it gains nothing over its three products. */
    enum phy_status (*ffn)(struct phy_matmul_backend *backend, const struct phy_ffn_product *product);
    void (*destroy)(struct phy_matmul_backend *backend);
};

struct phy_matmul_backend {
    const struct phy_matmul_backend_ops *ops;
    char name[32];         /* what --device takes: "cpu:avx2", "vulkan:0" */
    char description[256]; /* for people: the device's name */
};

/* Accepts a pointer to NULL; sets it to NULL. */
static inline void phy_matmul_backend_destroy(struct phy_matmul_backend **backend)
{
    if (*backend)
        (*backend)->ops->destroy(*backend);
    *backend = NULL;
}

#endif
