/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the CPU's products share. */
#ifndef PHY_CPU_CPU_MATMUL_PARTS_H
#define PHY_CPU_CPU_MATMUL_PARTS_H

#include "backend/matmul_backend.h"
#include "base/pool.h"
#include "kernels/activation.h"
#include "kernels/bf16_matmul.h"
#include "kernels/bitmap_matmul.h"
#include "kernels/block_matmul.h"
#include "kernels/int8_matmul.h"
#include "kernels/walk.h"

/* A worker's scratch of either product. */
#define PANEL_BYTES (PHY_MATMUL_PANEL_BYTES > PHY_INT8_PANEL_BYTES ? PHY_MATMUL_PANEL_BYTES : PHY_INT8_PANEL_BYTES)

/* Grows, never shrinks. */
struct cpu_buffer {
    void *data; /* 64-byte aligned */
    size_t bytes;
};

struct cpu_matmul {
    struct phy_matmul_backend base;
    const struct phy_host *host;
    /* The last form of each kernel that the chosen instructions allow. */
    const struct phy_matmul_variant *form;
    const struct phy_block_matmul_variant *block;
    const struct phy_int8_matmul_variant *int8;
    const struct phy_bf16_matmul_variant *bf16;
    const struct phy_walk_variant *walk;
    const struct phy_bitmap_variant *bitmap;
    const struct phy_activation_variant *activation;
    struct phy_pool *pool;
    uint64_t cached_bytes;     /* matrices that were loaded together and are no more stay in the last cache */
    float *panels;             /* (threads, PANEL_BYTES) */
    struct cpu_buffer decoded; /* (threads, decoded_stride bytes): rows that DEQUANT decoded */
    size_t decoded_stride;     /* bytes */
    struct cpu_buffer codes, scales, sums, fours; /* of rounded activations; codes of bf16, too */
    struct cpu_buffer turned;                     /* panels of x */
    struct cpu_buffer gated,
        pairs;              /* of an ffn: the input of down; (threads, count, ..) gate and up of some features */
    struct cpu_buffer list; /* of a walk: features that count, and their activations */
};

/* At least count * each bytes; or one sentence and PHY_ERR_MEMORY. */
enum phy_status phy_cpu_reserve(const struct cpu_matmul *cpu, struct cpu_buffer *buffer, size_t count, size_t each);

/* Rows of x as a kernel takes them. */
struct cpu_input {
    enum phy_product_kernel kernel;
    const float *x; /* (count, cols) */
    size_t count, cols;
    bool few;                     /* matvec's, not matmul's */
    struct phy_int8_rows rounded; /* INT8 only */
    const void *rounded_bf16;     /* BF16 only: (count) rows as the form keeps them */
    const float *x_panels;        /* or NULL: struct phy_matmul's */
};
/* Make room for products of this kernel, and round x if it is INT8 or BF16. The input is valid until the next is
 * prepared. */
enum phy_status phy_cpu_prepare(struct cpu_matmul *cpu, enum phy_product_kernel kernel, const float *x, size_t count,
                                size_t cols, struct cpu_input *input);

/* And room for what products with w need: after the input is prepared, before they run. */
enum phy_status phy_cpu_prepare_weights(struct cpu_matmul *cpu, const struct phy_weights *w,
                                        const struct cpu_input *input);

/* What a call must not be asked for is a sentence and PHY_ERR_UNSUPPORTED. */
enum phy_status phy_cpu_check_offer(const struct cpu_matmul *cpu, enum phy_product_kernel kernel,
                                    enum phy_weight_type type);

/* Rows begin .. end - 1 of w times x, by one worker: y[n * y_stride + r - begin]. */
void phy_cpu_multiply_rows(const struct cpu_matmul *cpu, const struct phy_weights *w, const struct cpu_input *input,
                           size_t begin, size_t end, unsigned worker, float *y, size_t y_stride);
/* Report a launch of it. */
void phy_cpu_ran(const struct cpu_matmul *cpu, enum phy_product_kernel kernel, enum phy_weight_type type);
/* A whole product, shared among the threads. */
void phy_cpu_multiply(const struct cpu_matmul *cpu, const struct phy_weights *w, const struct cpu_input *input,
                      const float *bias, float *y);
/* Rows in a share of `rows`, about four shares for each thread, so that one that is held up costs little; whole
 * register tiles. */
size_t phy_cpu_share(const struct cpu_matmul *cpu, size_t rows, bool few);
/* Whether that kernel's products of so many rows of x are matvec's. */
bool phy_cpu_few(const struct cpu_matmul *cpu, enum phy_product_kernel kernel, size_t count);

enum phy_status phy_cpu_ffn(struct phy_matmul_backend *backend, const struct phy_ffn_product *product);
enum phy_status phy_cpu_walk(struct phy_matmul_backend *backend, const struct phy_walk_product *product);

#endif
