/* SPDX-License-Identifier: Apache-2.0 */
/* What a device must do for a model: its weight matrices times rows of float32 activations, under the contract of
 * kernels/matmul.h. A table of typed function pointers. */
#ifndef PHY_BACKEND_MATMUL_BACKEND_H
#define PHY_BACKEND_MATMUL_BACKEND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/activation.h"
#include "kernels/matmul.h"
#include "physarium/host.h"
#include "physarium/status.h"

/* A stored matrix, in any format of quant/weight_type.h. Its data outlives the backend; a device with memory of its own
 * reads it once, in load. */
struct phy_weights {
    const void *data; /* (rows, cols): rows of whole blocks, phy_weight_row_bytes each */
    enum phy_weight_type type;
    size_t rows, cols;
    uint32_t index; /* the backend's own, set by load */
    /* Of all matrices that were loaded together, set by load of CPU backends; 0: not known */
    uint64_t loaded_bytes;
};

/* How a product treats its weights and activations. Each is a kernel of its own, with its own tolerance. */
enum phy_product_kernel {
    PHY_KERNEL_FUSED,   /* blocks are widened inside the product; float32 activations */
    PHY_KERNEL_DEQUANT, /* the matrix is decoded to float32 first, then multiplied */
    PHY_KERNEL_INT8,    /* activations are rounded to int8, a scale for each 256 (kernels/int8_matmul.h) */
    PHY_KERNEL_BF16,    /* activations are rounded to bf16, of bf16 matrices (kernels/bf16_matmul.h) */
    PHY_KERNEL_WALK,    /* features by list */
    PHY_KERNEL_COUNT
};

/* "fused", "dequant", "int8", "bf16", "walk": in traces, reports and skips. */
const char *phy_kernel_name(enum phy_product_kernel kernel);

/* y (count, rows) = x w^T, plus bias (rows) in every row unless it is NULL. */
struct phy_product {
    const struct phy_weights *w;
    float *y;
    const float *bias;
    enum phy_product_kernel kernel; /* not WALK */
};

/* y (count, hidden) = down( act(gate x) * (up x) ). */
struct phy_ffn_product {
    /* (intermediate, hidden) each; or both NULL and gate_up (2 * intermediate, hidden): row 2i is gate's row i, row
     * 2i + 1 is up's */
    const struct phy_weights *gate, *up, *gate_up;
    const struct phy_weights *down; /* (hidden, intermediate) */
    enum phy_activation activation;
    enum phy_product_kernel kernel; /* of all three; not WALK */
    const float *x;                 /* (count, hidden) */
    size_t count;
    float *gated; /* (count, intermediate): receives the input of down; or NULL */
    float *y;
};

/* y (rows, hidden) = sum over the listed features i, ascending, of act(gate_i . x) (up_i . x) down_i, for each row of x
 * by the same list; a row's bits don't depend on how many there are. Features whose act(gate_i . x) (up_i . x) is
 * exactly zero are skipped and counted, over all rows. */
struct phy_walk_product {
    const struct phy_weights *gate, *up; /* (intermediate, hidden) */
    const struct phy_weights *down;      /* (intermediate, hidden): by feature, transposed to the checkpoint's */
    enum phy_activation activation;
    const uint32_t *features; /* (feature_count) strictly ascending, < intermediate */
    size_t feature_count;
    /* (intermediate): gate's products, where they were computed to choose the features, and are not again; or NULL. Of
     * one row of x. */
    const float *gate_dots;
    const float *x;  /* (rows, hidden) */
    float *y;        /* (rows, hidden) */
    size_t *skipped; /* receives the count */
    size_t rows;
};

/* What a product really ran, called by the code that launches the kernel, where it launches it: the audit's trace.
 * `form` is the kernel's form: "avx2", or a shader's variant. Of an ffn: once for each kernel launched. */
typedef void phy_kernel_observer(void *user, enum phy_product_kernel kernel, enum phy_weight_type type,
                                 const char *form);

struct phy_matmul_backend;

/* One call at a time. What fails logs one sentence; y is then worthless.
 *   PHY_ERR_DEVICE  device lost, or its products are wrong
 *   PHY_ERR_MEMORY  host or device allocation failed */
struct phy_matmul_backend_ops {
    /* Before their products: take over these matrices and set their index. May be called again for more; when it fails
     * nothing of this call's stays on the device, and the matrices of earlier calls still work. */
    enum phy_status (*load)(struct phy_matmul_backend *backend, struct phy_weights *const *matrices, size_t count);
    /* Forget every matrix, for others to take their room; what was compiled stays. NULL: it holds nothing. */
    void (*unload)(struct phy_matmul_backend *backend);
    /* Whether products of that kernel and type can be asked of it. */
    bool (*offers)(const struct phy_matmul_backend *backend, enum phy_product_kernel kernel, enum phy_weight_type type);
    /* All products of the same x (count, cols); count >= 1. */
    enum phy_status (*multiply)(struct phy_matmul_backend *backend, const struct phy_product *products,
                                size_t product_count, const float *x, size_t count);
    /* A whole layer without leaving the device. NULL: it gains nothing over its products. */
    enum phy_status (*ffn)(struct phy_matmul_backend *backend, const struct phy_ffn_product *product);
    /* NULL: offers no walk. */
    enum phy_status (*walk)(struct phy_matmul_backend *backend, const struct phy_walk_product *product);
    void (*destroy)(struct phy_matmul_backend *backend);
};

struct phy_matmul_backend {
    const struct phy_matmul_backend_ops *ops;
    char name[32];            /* what --device takes: "cpu:avx2", "vulkan:0/lanes" */
    char description[256];    /* for people: the device's name */
    double device_ns;         /* of the last call's kernels by the device's own clock; 0: it has none */
    phy_kernel_observer *ran; /* or NULL; the owner sets it */
    void *ran_user;
};

static inline void phy_kernel_ran(const struct phy_matmul_backend *backend, enum phy_product_kernel kernel,
                                  enum phy_weight_type type, const char *form)
{
    if (backend->ran)
        backend->ran(backend->ran_user, kernel, type, form);
}

/* Accepts a pointer to NULL; sets it to NULL. */
static inline void phy_matmul_backend_destroy(struct phy_matmul_backend **backend)
{
    if (*backend)
        (*backend)->ops->destroy(*backend);
    *backend = NULL;
}

#endif
